//! Zeek's `notice.log`, in columns or written as JSON (`LogAscii::use_json`).
//!
//! A stream of several logs may be read: where `_path` or the header's `#path` names another log,
//! the record is no alert.
//! Zeek says no severity, so alerts have none.

use shared::alert::{Action, Alert, Field};

use super::{
    Event, Notes, Product, Writing,
    paths::{Slots, Stop},
    slots::{self, of},
    value,
};

pub(super) const NOTICE_PRODUCT: Product = Product {
    kind: "zeek_notice",
    name: "zeek",
    table: TABLE,
    writing: Writing::JsonOrColumns(STOP, LOG_NAME),
    event,
    finish,
};

/// What Zeek calls the log.
const LOG_NAME: &str = "notice";

const LOG: u8 = slots::OWN;
const ACTIONS: u8 = slots::OWN + 1;

const TABLE: &[(u8, &str)] = &[
    (LOG, "_path"),
    (slots::TIME, "ts"),
    (of(Field::RuleUid), "note"),
    (of(Field::RuleName), "note"),
    (of(Field::Title), "msg"),
    (of(Field::Title), "note"),
    (of(Field::SrcIp), "/id.orig_h"),
    (of(Field::SrcIp), "src"),
    (slots::SRC_PORT, "/id.orig_p"),
    (of(Field::DstIp), "/id.resp_h"),
    (of(Field::DstIp), "dst"),
    (slots::DST_PORT, "/id.resp_p"),
    (slots::DST_PORT, "p"),
    (of(Field::Protocol), "proto"),
    (ACTIONS, "actions"),
];

/// A record of another log is not read further than its name, which stands first where it is written.
const STOP: Stop = Stop { slot: LOG, unless: |raw| matches!(raw, "\"notice\"") };

/// Without a note and a message it is a record of another log: only those have neither.
fn event(found: &Slots<'_>) -> Event {
    let alert = [of(Field::RuleUid), of(Field::Title)];
    if alert.iter().any(|slot| found.raw(*slot).is_some()) { Event::Alert } else { Event::Other }
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, _: &mut Notes) {
    let actions = found.raw(ACTIONS).and_then(value::text).unwrap_or_default();
    if actions.split(',').any(|action| action == "Notice::ACTION_DROP") {
        alert.action = Action::Denied;
    }
}
