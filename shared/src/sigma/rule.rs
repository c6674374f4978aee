//! What a rule says of itself.

use std::{fmt, str::FromStr};

use super::{
    refusal::{Fault, Reason},
    yaml::Node,
};

/// A detection rule without its detection, which only the matcher needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Name of the source that it came from.
    pub source: Box<str>,
    /// Line on which it begins there.
    pub line: u32,
    /// Its id; empty where it has none.
    pub id: Box<str>,
    /// The name by which correlations may refer to it; empty where it has none.
    pub name: Box<str>,
    /// Its title.
    pub title: Box<str>,
    /// How critical it is.
    pub level: Option<Level>,
    /// How mature it is, as written; empty where it does not say.
    pub status: Box<str>,
    /// What it says of the events that it is meant for.
    pub logsource: Logsource,
    /// Its tags, as written.
    pub tags: Vec<Box<str>>,
    /// Keys at the top that the specification does not know, as they were parsed.
    pub custom: Vec<(Box<str>, Node)>,
    /// Whether its matches count by themselves: not so where only correlations refer to it.
    pub standalone: bool,
}

impl Rule {
    /// Returns the id, or the title where there is none.
    #[must_use]
    pub fn id_or_title(&self) -> &str {
        if self.id.is_empty() { &self.title } else { &self.id }
    }

    /// Returns a custom attribute.
    #[must_use]
    pub fn custom(&self, key: &str) -> Option<&Node> {
        self.custom.iter().find(|(name, _)| &**name == key).map(|(_, node)| node)
    }

    /// Reads the header of any document; a log source where it has one.
    pub(super) fn read(source: &str, document: &Node) -> Result<Self, Fault> {
        let text = |key| optional_text(document, key);
        let title = text("title")?;
        if title.is_empty() {
            return Err(document.fault(Reason::Missing("title")));
        }
        let level = match document.get("level") {
            None => None,
            Some(node) => Some(Level::read(node)?),
        };
        let logsource = document.get("logsource").map(Logsource::read).transpose()?;
        let is_custom = |key: &&str| !KNOWN.contains(key);
        let entries = document.entries().unwrap_or_default();
        let custom = entries.iter().filter_map(|(key, node)| {
            Some((Box::from(key.text().filter(is_custom)?), node.clone()))
        });
        Ok(Self {
            source: source.into(),
            line: document.line,
            id: text("id")?,
            name: text("name")?,
            title,
            level,
            status: text("status")?,
            logsource: logsource.unwrap_or_default(),
            tags: tags(document)?,
            custom: custom.collect(),
            standalone: true,
        })
    }
}

/// The keys at the top that the specification's documents define.
const KNOWN: [&str; 22] = [
    "author",
    "correlation",
    "date",
    "description",
    "detection",
    "falsepositives",
    "fields",
    "filter",
    "generate",
    "id",
    "level",
    "license",
    "logsource",
    "modified",
    "name",
    "references",
    "related",
    "scope",
    "status",
    "tags",
    "taxonomy",
    "title",
];

/// How critical a rule's match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Enriches events; never an alert by itself.
    Informational,
    /// Notable, rarely an incident.
    Low,
    /// To be reviewed now and then.
    Medium,
    /// To be reviewed promptly.
    High,
    /// An incident, next to certainly.
    Critical,
}

impl Level {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Informational, "informational"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::Critical, "critical"),
    ];

    fn read(node: &Node) -> Result<Self, Fault> {
        let must_be = "informational, low, medium, high or critical";
        let level = node.text().and_then(|text| text.parse().ok());
        level.ok_or_else(|| node.fault(Reason::Not { what: "level".into(), must_be }))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(level, _)| level == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(level, _)| *level).ok_or(())
    }
}

/// Which events a rule is meant for; what it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Logsource {
    /// A kind of events, whatever writes them, such as `process_creation`.
    pub category: Box<str>,
    /// What writes them, such as `windows`.
    pub product: Box<str>,
    /// A part of what that writes, such as `security`.
    pub service: Box<str>,
}

impl Logsource {
    /// Returns the log source with these three parts; empty ones are not said.
    #[must_use]
    pub fn new(category: &str, product: &str, service: &str) -> Self {
        Self { category: category.into(), product: product.into(), service: service.into() }
    }

    fn read(node: &Node) -> Result<Self, Fault> {
        if node.entries().is_none() {
            let reason = Reason::Not { what: "logsource".into(), must_be: "a mapping" };
            return Err(node.fault(reason));
        }
        let text = |key| optional_text(node, key);
        Ok(Self {
            category: text("category")?,
            product: text("product")?,
            service: text("service")?,
        })
    }

    pub(super) fn parts(&self) -> [&str; 3] {
        [&self.category, &self.product, &self.service]
    }
}

impl fmt::Display for Logsource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ["category", "product", "service"].into_iter().zip(self.parts());
        let mut between = "";
        for (name, part) in named.filter(|(_, part)| !part.is_empty()) {
            write!(f, "{between}{name}: {part}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// Returns the text under a key; empty where the key is missing or holds nothing.
pub(super) fn optional_text(node: &Node, key: &'static str) -> Result<Box<str>, Fault> {
    match node.get(key) {
        None => Ok("".into()),
        Some(value) if value.value == super::yaml::Yaml::Null => Ok("".into()),
        Some(value) => value
            .scalar()
            .map(|text| Box::from(&*text))
            .ok_or_else(|| value.fault(Reason::Not { what: key.into(), must_be: "a text" })),
    }
}

/// Returns the texts of a list, or of a single text.
pub(super) fn texts(node: &Node, what: &'static str) -> Result<Vec<Box<str>>, Fault> {
    let items = node.items().unwrap_or(std::slice::from_ref(node));
    let each = items.iter().map(|item| {
        let text = item.scalar().map(|text| Box::from(&*text));
        text.ok_or_else(|| item.fault(Reason::Not { what: what.into(), must_be: "texts" }))
    });
    each.collect()
}

fn tags(document: &Node) -> Result<Vec<Box<str>>, Fault> {
    match document.get("tags") {
        None => Ok(Vec::new()),
        Some(node) if node.value == super::yaml::Yaml::Null => Ok(Vec::new()),
        Some(node) => texts(node, "tags"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn rule(text: &str) -> Result<Rule, String> {
        let document = yaml::parse(text).remove(0).unwrap();
        Rule::read("rules.yml", &document).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_rule_keeps_what_it_says_of_itself_and_what_the_specification_does_not_know() {
        let read = rule(
            "title: A\nid: 7\nlevel: high\ntags: [attack.t1059, x.y]\nstatus: test\n\
             logsource: {product: windows, service: security}\n\
             signalbox:\n  action: hold\n  expires: 2030-01-01\n",
        );
        let read = read.unwrap();
        assert_eq!((&*read.id, read.id_or_title(), read.level), ("7", "7", Some(Level::High)));
        assert_eq!(read.logsource.to_string(), "product: windows, service: security");
        assert_eq!(read.tags.len(), 2);
        let own = read.custom("signalbox").unwrap();
        let action = own.get("action").unwrap();
        assert_eq!((action.text(), action.line), (Some("hold"), 8));
        assert!(read.custom("author").is_none());
    }

    #[test]
    fn a_header_that_is_wrong_is_refused_where_it_is() {
        assert_eq!(rule("id: 7"), Err("1:1: title is missing".to_owned()));
        let level = "title: A\nlevel: extreme";
        assert!(rule(level).unwrap_err().starts_with("2:8: level must be informational"));
        assert!(rule("title: [A]").unwrap_err().contains("title must be a text"));
        assert!(rule("title: A\nlogsource: x").unwrap_err().contains("must be a mapping"));
    }
}
