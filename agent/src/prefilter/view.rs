//! An alert and its record as rules see them.

use std::cell::{Cell, RefCell};

use shared::{
    alert::{Action, Alert, Field},
    sigma::{Event, Value},
};

use super::{
    Read,
    record::{self, Found, Paths},
};
use crate::{
    normalise::{Normaliser, Raw},
    policy::Place,
};

/// Where the fields of a rule set stand; made once a policy.
#[derive(Debug, Default)]
pub(super) struct Fields {
    places: Vec<Place>,
    paths: Paths,
    /// The same fields by the names that they have in an event of Windows.
    windows: Paths,
    /// What was found in the record last looked into; kept for its memory.
    found: RefCell<Found>,
}

impl Fields {
    /// Finds the places of fields, which are named by their numbers from then on.
    pub(super) fn new<'f>(names: impl IntoIterator<Item = &'f str>) -> Self {
        let mut fields = Self { windows: Paths::of_windows(), ..Self::default() };
        for (number, name) in names.into_iter().enumerate() {
            let place = Place::parse(name);
            if let Place::Record(path) = &place {
                fields.paths.insert(number, path);
                fields.windows.insert_windows(number, path);
            }
            fields.places.push(place);
        }
        fields
    }

    /// Returns the alert and its record as rules see them.
    pub(super) fn view<'v>(&'v self, read: Read<'v>) -> View<'v> {
        let Read { alert, record, reader } = read;
        View { fields: self, alert, record, reader, is_searched: Cell::new(false) }
    }
}

/// See [`Fields::view`].
#[derive(Debug)]
pub(super) struct View<'v> {
    fields: &'v Fields,
    alert: &'v Alert<'v>,
    record: &'v [u8],
    reader: &'v Normaliser,
    is_searched: Cell<bool>,
}

impl View<'_> {
    fn items(&self, fields: &[Field], visit: &mut dyn FnMut(Value<'_>)) {
        let texts = fields.iter().filter_map(|field| self.alert.text(*field));
        texts.flat_map(|text| text.split(',')).for_each(|item| visit(Value::Text(item)));
    }

    fn in_record(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        if !self.is_searched.replace(true) {
            let Fields { paths, windows, found, .. } = self.fields;
            let paths = if self.reader.kind().is_windows_event() { windows } else { paths };
            paths.find(self.record, self.reader, &mut found.borrow_mut());
        }
        // Whoever visits one field may ask for another.
        let found = self.fields.found.borrow();
        for (_, range, escapes) in found.iter().filter(|(number, ..)| *number == field) {
            let raw = str::from_utf8(&self.record[range.clone()]);
            record::visit(Raw::new(raw.unwrap_or_default(), *escapes), visit);
        }
    }
}

impl Event for View<'_> {
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        let mut port = |port: Option<u16>| {
            port.into_iter().for_each(|port| visit(Value::Int(i64::from(port))));
        };
        match &self.fields.places[field] {
            Place::Text(field) => {
                self.alert.text(*field).into_iter().for_each(|text| visit(Value::Text(text)));
            }
            Place::List(field) => self.items(&[*field], visit),
            Place::NamesAskedFor => {
                let names = Field::NAMES_ASKED_FOR.into_iter();
                names
                    .filter_map(|field| self.alert.text(field))
                    .for_each(|name| visit(Value::Text(name)));
            }
            Place::Hashes => self.items(&[Field::FileHash, Field::FurtherHashes], visit),
            Place::Severity => visit(Value::Text(self.alert.severity.as_str())),
            Place::SeverityId => visit(Value::Int(i64::from(self.alert.severity.id()))),
            Place::Action => match self.alert.action {
                Action::Unknown => {}
                Action::Allowed => visit(Value::Text("allowed")),
                Action::Denied => visit(Value::Text("denied")),
            },
            Place::ActionId => visit(Value::Int(self.alert.action as i64)),
            Place::SrcPort => port(self.alert.src_port),
            Place::DstPort => port(self.alert.dst_port),
            Place::Record(_) => self.in_record(field, visit),
        }
    }

    fn texts(&self, visit: &mut dyn FnMut(&str)) {
        Field::ALL.into_iter().filter_map(|field| self.alert.text(field)).for_each(&mut *visit);
        if let Ok(record) = str::from_utf8(self.record) {
            visit(record);
        }
    }
}
