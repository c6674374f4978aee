//! Paths and queries of the API, with everything escaped that is not plain.

/// Escapes a segment of a path or a value of a query (RFC 3986: all but the unreserved).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // These two would be taken for steps in the tree.
    match out.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => out,
    }
}

/// A query in the making: what is absent is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// Adds a key with its value, if there is one.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(key);
            self.0.push('=');
            self.0.push_str(&escape(&value.to_string()));
        }
        self
    }

    /// Returns the path with the query behind it.
    pub(crate) fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_types_stays_within_its_segment() {
        assert_eq!(escape("../tokens?x#y z&é"), "..%2Ftokens%3Fx%23y%20z%26%C3%A9");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("acme-1_2.3~4"), "acme-1_2.3~4");
    }

    #[test]
    fn what_is_absent_is_not_asked_for() {
        let query = Query::default().with("tenant", None::<&str>).with("limit", Some(5));
        assert_eq!(
            query.with("entity", Some("ip:::1")).on("/v1/x"),
            "/v1/x?limit=5&entity=ip%3A%3A%3A1"
        );
        assert_eq!(Query::default().on("/v1/x"), "/v1/x");
    }
}
