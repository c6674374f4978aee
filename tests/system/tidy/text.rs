//! One Rust file, taken apart as far as the house rules need it.
//!
//! This is not a parser: it tells code from comments and literals, knows which lines are test code,
//! and finds paths and
//! functions by their tokens. What a macro makes of its tokens it cannot know.

use std::collections::BTreeSet;

/// A Rust file as the rules see it.
pub(crate) struct Source {
    /// Where it stands, from the root of the workspace, with `/`.
    pub(crate) path: String,
    /// The lines as they are.
    pub(crate) lines: Vec<String>,
    /// The lines with everything but comments blanked.
    pub(crate) comments: Vec<String>,
    /// The code's words and signs; literals are left out.
    pub(crate) tokens: Vec<Token>,
    /// Lines (from 0) under `#[cfg(test)]`, or all where the whole file is test code.
    test_lines: BTreeSet<usize>,
    /// Files (or folders) that a `#[cfg(test)] mod name;` here makes test code, without `.rs`.
    pub(crate) test_modules: Vec<String>,
}

/// A word or a sign of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 0.
    pub(crate) line: usize,
}

/// A path of at least two names, or one that is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) names: Vec<String>,
    /// The modules written out in this file around the path.
    pub(crate) inside: Vec<String>,
    /// From 0.
    pub(crate) line: usize,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of `fn`, from 0.
    pub(crate) first_line: usize,
    /// Line of the closing brace, from 0.
    pub(crate) last_line: usize,
}

impl Source {
    /// Takes `text` apart as the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            comments: comments.lines().map(str::to_owned).collect(),
            tokens: tokenize(&code),
            test_lines: BTreeSet::new(),
            test_modules: Vec::new(),
        };
        source.find_test_items();
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            source.mark_all_as_test();
        }
        source
    }

    /// Says whether a line (from 0) is test code.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test_lines.contains(&line)
    }

    /// Makes the whole file test code.
    pub(crate) fn mark_all_as_test(&mut self) {
        self.test_lines = (0..self.lines.len()).collect();
    }

    /// Returns the package's folder: the first part of the path.
    pub(crate) fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Returns the module path from the crate's root, which is empty for `lib.rs`, `main.rs` and other binaries.
    pub(crate) fn module(&self) -> Vec<&str> {
        let Some((_, inner)) = self.path.split_once("/src/") else { return Vec::new() };
        let inner = inner.trim_end_matches(".rs");
        if matches!(inner, "lib" | "main") || inner.starts_with("bin/") {
            return Vec::new();
        }
        inner.split('/').collect()
    }

    /// Returns every path that the code names, those of `use` with their groups spelled out.
    pub(crate) fn named_paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        let mut inside: Vec<(String, i32)> = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        while let Some(token) = self.tokens.get(at) {
            let modules = || inside.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inside.retain(|(_, outer)| *outer < depth);
                }
                "mod" if self.text(at + 2) == "{" => {
                    inside.push((self.text(at + 1).to_owned(), depth));
                }
                "use" if self.text(at + 1) != "<" => {
                    at = self.use_tree(at + 1, &[], &modules(), &mut found);
                    continue;
                }
                word if is_word(word) => {
                    let (names, end) = self.chain(at);
                    if names.len() > 1 {
                        found.push(NamedPath { names, inside: modules(), line: token.line });
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// Returns every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let starts = (0..self.tokens.len()).filter(|at| self.text(*at) == "fn");
        starts.filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let name = self.text(at + 1);
        if !is_word(name) {
            return None;
        }
        let end = self.item_end(at);
        (self.text(end) == "}").then(|| Function {
            name: name.to_owned(),
            first_line: self.tokens[at].line,
            last_line: self.tokens[end].line,
        })
    }

    /// Returns the names that begin at `at` and are joined by `::`, and the index behind them.
    fn chain(&self, at: usize) -> (Vec<String>, usize) {
        let mut names = vec![self.text(at).to_owned()];
        let mut end = at + 1;
        while self.text(end) == "::" && is_word(self.text(end + 1)) {
            names.push(self.text(end + 1).to_owned());
            end += 2;
        }
        (names, end)
    }

    /// Reads one branch of a `use` and returns the index of what ends it: `,`, `}` or `;`.
    fn use_tree(
        &self,
        start: usize,
        prefix: &[String],
        inside: &[String],
        found: &mut Vec<NamedPath>,
    ) -> usize {
        let mut names = prefix.to_vec();
        let mut at = start;
        while let Some(token) = self.tokens.get(at) {
            match token.text.as_str() {
                "," | "}" | ";" => break,
                "as" => at += 1,
                "::" => {}
                "{" => {
                    at = self.use_tree(at + 1, &names, inside, found);
                    while self.text(at) == "," {
                        at = self.use_tree(at + 1, &names, inside, found);
                    }
                    return at + 1;
                }
                word => names.push(word.to_owned()),
            }
            at += 1;
        }
        if names.len() > prefix.len() {
            let line = self.tokens[at.saturating_sub(1)].line;
            found.push(NamedPath { names, inside: inside.to_vec(), line });
        }
        at
    }

    fn find_test_items(&mut self) {
        const OUTER: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        const INNER: [&str; 8] = ["#", "!", "[", "cfg", "(", "test", ")", "]"];
        for at in 0..self.tokens.len() {
            if self.has(at, &INNER) {
                self.mark_all_as_test();
            }
            if !self.has(at, &OUTER) {
                continue;
            }
            let mut item = at + OUTER.len();
            while self.text(item) == "#" {
                item = self.item_end(item) + 1;
            }
            let end = self.item_end(item);
            let last_line = self.tokens.get(end).map_or(self.lines.len(), |token| token.line);
            self.test_lines.extend(self.tokens[at].line..=last_line);
            while matches!(self.text(item), "pub" | "(" | ")" | "crate" | "super") {
                item += 1;
            }
            if self.text(item) == "mod" && self.text(item + 2) == ";" {
                let name = self.text(item + 1).to_owned();
                self.test_modules.push(self.file_of_module(&name));
            }
        }
    }

    fn file_of_module(&self, name: &str) -> String {
        let stem = self.path.trim_end_matches(".rs");
        let stem = stem.strip_suffix("/lib").or(stem.strip_suffix("/main")).unwrap_or(stem);
        format!("{stem}/{name}")
    }

    /// Returns the index of what ends the item (or attribute) at `at`: its closing brace or
    /// bracket, or its semicolon.
    fn item_end(&self, at: usize) -> usize {
        let is_attribute = self.text(at) == "#";
        let mut depth = 0;
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                closing @ (")" | "]" | "}") => {
                    depth -= 1;
                    let ends = closing == "}" || (is_attribute && closing == "]");
                    if depth < 0 || (depth == 0 && ends) {
                        return index;
                    }
                }
                ";" if depth == 0 => return index,
                _ => {}
            }
        }
        self.tokens.len()
    }

    fn has(&self, at: usize, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(offset, text)| self.text(at + offset) == *text)
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokenize(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token { text: rest[..length].to_owned(), line });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Returns the text twice, line for line: once with only the code left, once with only the comments.
///
/// Literals are in neither.
fn split(text: &str) -> (String, String) {
    let mut splitter = Splitter { rest: text, code: String::new(), comments: String::new() };
    while !splitter.rest.is_empty() {
        splitter.step();
    }
    (splitter.code, splitter.comments)
}

struct Splitter<'a> {
    rest: &'a str,
    code: String,
    comments: String,
}

/// What a stretch of text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Splitter<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.take(rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
        } else if rest.starts_with("/*") {
            self.take(block_comment_length(rest), Kind::Comment);
        } else if let Some(length) = literal_length(rest) {
            self.take(length, Kind::Literal);
        } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.take(end, Kind::Code);
        } else {
            self.take(rest.chars().next().map_or(1, char::len_utf8), Kind::Code);
        }
    }

    fn take(&mut self, length: usize, kind: Kind) {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        for c in taken.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.code.push(if kind == Kind::Code { c } else { blank });
            self.comments.push(if kind == Kind::Comment { c } else { blank });
        }
    }
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of the string or character literal that `text` begins with, if it does.
fn literal_length(text: &str) -> Option<usize> {
    if let Some(length) = quoted_length(text, '\'') {
        let inner = &text[1..length - 1];
        let is_lifetime = !inner.starts_with('\\') && inner.chars().count() != 1;
        return (!is_lifetime).then_some(length);
    }
    let unprefixed = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - unprefixed.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let closing = format!("\"{}", "#".repeat(hashes));
            let start = prefix + 1 + hashes + 1;
            let end =
                text[start..].find(&closing).map_or(text.len(), |at| start + at + closing.len());
            return Some(end);
        }
    }
    let quote = if prefix == 1 && unprefixed.starts_with('\'') { '\'' } else { '"' };
    quoted_length(unprefixed, quote).map(|length| prefix + length)
}

/// Returns the length of what stands between two of `quote`, with both, `\` escaping what follows it.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let inner = text.strip_prefix(quote)?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if quote == '\'' => return None,
            _ if c == quote => return Some(1 + at + 1),
            _ => {}
        }
    }
    None
}
