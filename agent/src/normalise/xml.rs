//! Finds values in a record of XML, by the places that its values would have in JSON: an attribute
//! stands under `#attributes`, and a `Data` element under the name that it has as an attribute.
//!
//! One pass without copying. No document type is read and no entity but the five that XML has, so a
//! record cannot make itself larger than it is.

use super::{Malformed, paths::Take, value::Raw};

/// Most elements within one another: an event has six.
const DEPTH_MAX: usize = 16;

const ATTRIBUTES: &str = "#attributes";

/// The element that event logs are saved in.
const ROOT: &str = "Events";

/// Finds the values in a record.
///
/// # Errors
/// Fails where the record is not one XML element; what stood before the place is found.
pub(super) fn read<'a>(text: &'a str, take: &mut Take<'_, 'a>) -> Result<(), Malformed> {
    let mut place: Vec<&'a str> = Vec::new();
    let mut names: Vec<&'a str> = Vec::new();
    let mut rest = text;
    let mut is_begun = false;
    let mut is_leaf = false;
    loop {
        let Some(open) = rest.find('<') else {
            return (is_begun && names.is_empty()).then_some(()).ok_or(Malformed::XmlEndsEarly);
        };
        let (content, tag) = rest.split_at(open);
        // Between elements there is nothing; within one that has none, nothing is its value.
        let is_value = !content.trim_ascii().is_empty() || (is_leaf && tag.starts_with("</"));
        if !names.is_empty() && is_value {
            take(&place, Raw::xml(content.trim_ascii()));
        }
        is_leaf = false;
        let at = text.len() - rest.len() + open + 1;
        let syntax = Malformed::XmlSyntax { at };
        if let Some(after) = tag.strip_prefix("<![CDATA[") {
            let (content, after) = after.split_once("]]>").ok_or(Malformed::XmlEndsEarly)?;
            take(&place, Raw::plain(content));
            rest = after;
            continue;
        }
        if let Some(after) = behind_comment(tag) {
            rest = after.ok_or(Malformed::XmlEndsEarly)?;
            continue;
        }
        let end = tag_end(tag).ok_or(Malformed::XmlEndsEarly)?;
        let inner = &tag[1..end];
        rest = &tag[end + 1..];
        if inner.starts_with('?') {
            continue;
        }
        if let Some(name) = inner.strip_prefix('/') {
            if names.pop() != Some(name.trim_ascii_end()) {
                return Err(syntax);
            }
            place.pop();
            continue;
        }
        if is_begun && names.is_empty() {
            return Err(Malformed::XmlGoesOn { at });
        }
        if inner.starts_with('!') || names.len() == DEPTH_MAX {
            return Err(syntax);
        }
        is_begun = true;
        let (inner, is_empty) = inner.strip_suffix('/').map_or((inner, false), |it| (it, true));
        let end = inner.find(|c: char| c.is_ascii_whitespace()).unwrap_or(inner.len());
        let (name, attributes) = inner.split_at(end);
        names.push(name);
        place.push(name);
        let data = data_name(name, attributes);
        if let Some(data) = data {
            *place.last_mut().expect("one was just put there") = data;
        } else {
            take_attributes(attributes, &mut place, take);
        }
        is_leaf = !is_empty;
        if is_empty {
            if data.is_some() {
                take(&place, Raw::xml(&rest[..0]));
            }
            names.pop();
            place.pop();
        }
    }
}

/// Returns whether there is nothing but what stands around events in a file of them: declarations, comments, and tags
/// of the root element [`ROOT`].
pub(super) fn is_around_events(text: &str) -> bool {
    let mut rest = text.trim_ascii();
    while rest.starts_with('<') {
        let Some(after) = behind_comment(rest).unwrap_or_else(|| behind_wrapping(rest)) else {
            return false;
        };
        rest = after.trim_ascii_start();
    }
    rest.is_empty()
}

/// Returns what follows a declaration or a tag of the root element.
fn behind_wrapping(tag: &str) -> Option<&str> {
    let end = tag_end(tag)?;
    let inner = &tag[1..end];
    let name = inner.strip_prefix('/').unwrap_or(inner);
    let name = name.split(|c: char| c.is_ascii_whitespace()).next();
    (inner.starts_with('?') || name == Some(ROOT)).then_some(&tag[end + 1..])
}

/// Returns what follows a comment, and nothing of one that does not end.
fn behind_comment(tag: &str) -> Option<Option<&str>> {
    let inner = tag.strip_prefix("<!--")?;
    Some(inner.split_once("-->").map(|(_, after)| after))
}

/// Returns where a tag's `>` stands; one within quotes is none.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Returns the name under which a `Data` element's value stands.
fn data_name<'a>(name: &str, attributes: &'a str) -> Option<&'a str> {
    (name == "Data").then(|| pairs(attributes).find(|(key, _)| *key == "Name"))?.map(|(_, it)| it)
}

fn take_attributes<'a>(attributes: &'a str, place: &mut Vec<&'a str>, take: &mut Take<'_, 'a>) {
    place.push(ATTRIBUTES);
    for (key, value) in pairs(attributes) {
        place.push(key);
        take(place, Raw::xml(value));
        place.pop();
    }
    place.pop();
}

/// Returns the attributes of a tag; what is not one ends them.
fn pairs(attributes: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = attributes;
    std::iter::from_fn(move || {
        let (key, value) = rest.split_once('=')?;
        let value = value.trim_ascii_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = value[1..].split_once(quote)?;
        rest = after;
        Some((key.trim_ascii(), value))
    })
}
