//! Lists: following pages up to what was asked for.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    args::Paging,
    client::{Ask, Client, path::Query},
    failure::{About, Failure},
    limits::{LIST_ITEMS_MAX, LIST_PAGES_MAX, PAGE_ITEMS_MAX},
};

/// A page, or several put together, as the API writes it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    items: Vec<Box<RawValue>>,
    /// Where the list goes on.
    pub(crate) next: Option<String>,
    /// Whether retention has deleted what should stand here; only of alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) records_gone: Option<bool>,
}

impl List {
    /// Returns the list as the API's JSON.
    ///
    /// # Errors
    /// There is none: what was read as JSON can be written as JSON.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::Output(error.into()))
    }

    /// Reads the items.
    ///
    /// # Errors
    /// One is not what was expected.
    pub(crate) fn items<T: DeserializeOwned>(&self, client: &Client) -> Result<Vec<T>, Failure> {
        let read = |item: &RawValue| serde_json::from_str(item.get());
        let items: Result<Vec<T>, _> = self.items.iter().map(|item| read(item)).collect();
        items.map_err(|error| client.odd(error.to_string()))
    }

    fn append(&mut self, page: Self) {
        self.items.extend(page.items);
        self.next = page.next;
        if let Some(gone) = page.records_gone {
            self.records_gone = Some(gone || self.records_gone.unwrap_or_default());
        }
    }
}

/// Returns how many items a person wants.
fn wanted(paging: &Paging, default: usize) -> usize {
    if paging.all { LIST_ITEMS_MAX } else { paging.limit.unwrap_or(default) }
}

impl Client {
    /// Reads the list at `path` until there is as much as was asked for, `default` items where nothing was said.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) fn list(
        &self,
        path: &str,
        query: &Query,
        paging: &Paging,
        default: usize,
        about: &About,
    ) -> Result<List, Failure> {
        let wanted = wanted(paging, default);
        let mut list = List { next: paging.cursor.clone(), ..List::default() };
        for _ in 0..LIST_PAGES_MAX {
            let limit = (wanted - list.items.len()).min(PAGE_ITEMS_MAX);
            let query = query.clone().with("limit", Some(limit)).with("cursor", list.next.as_ref());
            let ask = Ask::read(query.on(path)).about(about.clone());
            let (_, page) = self.read::<List>(&ask)?;
            list.append(page);
            if list.next.is_none() || list.items.len() >= wanted {
                break;
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> List {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn pages_put_together_are_one_page_of_the_same_items() {
        let mut list = List::default();
        list.append(page(r#"{"items":[{"a":1.50}],"next":"x","records_gone":true}"#));
        list.append(page(r#"{"items":[{"b":"é"}],"next":null,"records_gone":false}"#));
        let wanted = r#"{"items":[{"a":1.50},{"b":"é"}],"next":null,"records_gone":true}"#;
        assert_eq!(list.json().unwrap(), wanted);
    }

    #[test]
    fn a_plain_list_gains_no_field() {
        let text = r#"{"items":[],"next":"x"}"#;
        assert_eq!(page(text).json().unwrap(), text);
    }

    #[test]
    fn all_has_a_bound() {
        let paging = |limit, all| Paging { limit, all, cursor: None };
        assert_eq!(wanted(&paging(None, true), 50), LIST_ITEMS_MAX);
        assert_eq!(wanted(&paging(Some(7), false), 50), 7);
        assert_eq!(wanted(&paging(None, false), 50), 50);
    }
}
