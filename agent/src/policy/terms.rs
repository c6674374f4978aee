//! From a rule's `signalbox` mapping to what is done with the alerts that it matches.

use std::time::Duration;

use shared::{
    sigma::{Node, Yaml},
    time::Timestamp,
};

use super::{
    Fault,
    place::Place,
    units::{parse_audit, parse_expiry, parse_rate},
};
use crate::{
    config::parse_duration,
    filter::{Action, Bounds},
    fold,
    limits::{
        FOLD_PARTS_MAX, FOLD_PERIOD_MAX, FOLD_PERIOD_MIN, POLICY_EXPIRY_MAX, POLICY_TEXT_BYTES_MAX,
    },
};

/// The mapping's name in a rule.
pub(super) const KEY: &str = "signalbox";

/// Keys of rules of every action.
const ALWAYS: [&str; 3] = ["action", "owner", "expires"];
/// Keys of rules that suppress.
const BOUNDS: [&str; 2] = ["expected", "even_critical"];
const FOLD: [&str; 2] = ["by", "period"];
const HOLD: [&str; 1] = ["audit"];

/// What a rule's mapping says.
pub(super) struct Terms {
    pub(super) action: Action,
    pub(super) owner: Option<Box<str>>,
    pub(super) expires_at: Timestamp,
}

/// What a mapping belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A rule about one alert.
    Rule,
    /// A correlation, which says something of the alert that completes it.
    Correlation,
}

/// Reads the mapping of a rule or a correlation at `now`.
pub(super) fn read(mapping: &Node, of: Of, now: Timestamp) -> Result<Terms, Fault> {
    let Some(entries) = mapping.entries() else {
        return Err(fault(mapping, "", "is no mapping"));
    };
    let (action, place) = text(mapping, "action")?
        .ok_or_else(|| fault(mapping, "action", "is missing: send_urgent, send, fold or hold"))?;
    let own: &[&[&str]] = match action {
        "send_urgent" | "send" => &[],
        "fold" => &[&BOUNDS, &FOLD],
        "hold" => &[&BOUNDS, &HOLD],
        other => {
            let message = format!("{other:?} is not one of send_urgent, send, fold, hold");
            return Err(fault(place, "action", message));
        }
    };
    if of == Of::Correlation && !own.is_empty() {
        let message = format!(
            "{action} does not go with a correlation: it speaks of the alert that completes it, \
             which it can have sent (send, send_urgent); what it counts is held or folded by rules"
        );
        return Err(fault(place, "action", message));
    }
    for (name, _) in entries {
        let key = name.scalar().unwrap_or_default();
        let is_known = |keys: &[&str]| keys.contains(&&*key);
        if is_known(&ALWAYS) || own.iter().any(|keys| is_known(keys)) {
            continue;
        }
        let is_another = is_known(&BOUNDS) || is_known(&FOLD) || is_known(&HOLD);
        let message = if is_another {
            format!("does not go with the action {action}")
        } else {
            format!("is not known; a rule with the action {action} has {}", names(own))
        };
        return Err(fault(name, &key, message));
    }
    Ok(Terms {
        action: match action {
            "send_urgent" => Action::SendUrgent,
            "send" => Action::Send,
            "fold" => Action::Fold(bounds(mapping)?, fold_terms(mapping)?),
            _ => {
                let audit = parsed(mapping, "audit", parse_audit)?;
                Action::Hold(bounds(mapping)?, audit.unwrap_or_default())
            }
        },
        owner: owner(mapping, "owner")?,
        expires_at: expiry(mapping, now)?,
    })
}

/// Reads a name that is not empty and not too long.
pub(super) fn owner(mapping: &Node, key: &str) -> Result<Option<Box<str>>, Fault> {
    let Some((text, node)) = text(mapping, key)? else { return Ok(None) };
    if text.trim().is_empty() || text.len() > POLICY_TEXT_BYTES_MAX {
        let message = format!("must have 1 to {POLICY_TEXT_BYTES_MAX} bytes");
        return Err(fault(node, key, message));
    }
    Ok(Some(text.into()))
}

/// Returns a fault at `node` about `key`.
pub(super) fn fault(node: &Node, key: &str, message: impl Into<String>) -> Fault {
    Fault { line: node.line, column: node.column, key: key.to_owned(), message: message.into() }
}

fn names(own: &[&[&str]]) -> String {
    let keys: Vec<&str> = ALWAYS.iter().chain(own.iter().copied().flatten()).copied().collect();
    keys.join(", ")
}

fn expiry(mapping: &Node, now: Timestamp) -> Result<Timestamp, Fault> {
    let key = "expires";
    let Some(at) = parsed(mapping, key, parse_expiry)? else {
        let message = "is missing: every rule has an end, such as 2027-01-31";
        return Err(fault(mapping, key, message));
    };
    if at > now.saturating_add(POLICY_EXPIRY_MAX) {
        let days = POLICY_EXPIRY_MAX.as_secs() / 86_400;
        let message =
            format!("lies more than {days} days ahead: what holds longer is looked at again");
        return Err(fault(mapping.get(key).unwrap_or(mapping), key, message));
    }
    Ok(at)
}

fn bounds(mapping: &Node) -> Result<Bounds, Fault> {
    let expected = parsed(mapping, "expected", parse_rate)?.ok_or_else(|| {
        let message = "is missing: the rate above which the rule suppresses nothing, such as 200/h";
        fault(mapping, "expected", message)
    })?;
    let even_critical = match mapping.get("even_critical") {
        None => false,
        Some(Node { value: Yaml::Bool(value), .. }) => *value,
        Some(node) => return Err(fault(node, "even_critical", "is neither true nor false")),
    };
    Ok(Bounds { expected, even_critical })
}

fn fold_terms(mapping: &Node) -> Result<fold::Terms, Fault> {
    let default = fold::Terms::default();
    let period = parsed(mapping, "period", |text| {
        let period = parse_duration(text)?;
        if (FOLD_PERIOD_MIN..=FOLD_PERIOD_MAX).contains(&period) {
            return Ok(period);
        }
        Err(format!(
            "{text} is not between {} and {}",
            whole(FOLD_PERIOD_MIN),
            whole(FOLD_PERIOD_MAX)
        ))
    })?;
    let by = match mapping.get("by") {
        None => default.by,
        Some(list) => list
            .items()
            .filter(|items| items.len() <= FOLD_PARTS_MAX)
            .ok_or_else(|| {
                let message = format!("is no list of at most {FOLD_PARTS_MAX} names of fields");
                fault(list, "by", message)
            })?
            .iter()
            .map(part)
            .collect::<Result<_, _>>()?,
    };
    Ok(fold::Terms { by, period: period.unwrap_or(default.period) })
}

fn part(node: &Node) -> Result<fold::Part, Fault> {
    let name = node.scalar().unwrap_or_default();
    Place::parse(&name).part().ok_or_else(|| {
        let message =
            format!("{name:?} is no text and no port of an alert by OCSF's or short name");
        fault(node, "by", message)
    })
}

/// Returns the text of a key, and where it stands.
fn text<'n>(mapping: &'n Node, key: &str) -> Result<Option<(&'n str, &'n Node)>, Fault> {
    let Some(node) = mapping.get(key) else { return Ok(None) };
    let text = node.text().ok_or_else(|| fault(node, key, "is no text"))?;
    Ok(Some((text, node)))
}

/// Returns a key's value as `parse` reads it.
fn parsed<T>(
    mapping: &Node,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Fault> {
    let Some((text, node)) = text(mapping, key)? else { return Ok(None) };
    parse(text).map(Some).map_err(|message| fault(node, key, message))
}

fn whole(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds => format!("{seconds}s"),
    }
}
