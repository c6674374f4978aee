//! What a person sees in the browser when they come back from the provider.
//!
//! No script, nothing from elsewhere, in no frame, and kept by no cache. All text of the provider's and of persons is
//! escaped.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A text as it may stand in a page.
#[derive(Clone, Debug)]
pub(super) struct Escaped(String);

impl Escaped {
    pub(super) fn new(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                letter if letter.is_control() => escaped.push('\u{fffd}'),
                letter => escaped.push(letter),
            }
        }
        Self(escaped)
    }
}

impl std::fmt::Display for Escaped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A page: a title and what stands below it.
#[derive(Clone, Debug)]
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    body: String,
    retry_after: Option<u32>,
}

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;\
    padding:0 1rem;color:#1a1a1a;background:#fff}code{font-size:1.6rem;letter-spacing:.1em}\
    button{font:inherit;padding:.5rem 1rem;margin-right:1rem}";

impl Page {
    pub(super) fn new(status: StatusCode, title: &'static str) -> Self {
        Self { status, title, body: String::new(), retry_after: None }
    }

    /// Adds a paragraph.
    pub(super) fn say(mut self, text: &str) -> Self {
        self.body.push_str(&format!("<p>{}</p>\n", Escaped::new(text)));
        self
    }

    /// Adds what is HTML already.
    pub(super) fn html(mut self, html: &str) -> Self {
        self.body.push_str(html);
        self
    }

    /// Says after how many seconds it may help to try again.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, body, retry_after } = self;
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>Signalbox: {title}</title><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n{body}</body></html>\n"
        );
        let mut response = (status, html).into_response();
        let headers = response.headers_mut();
        let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_text() {
        let text = Escaped::new("<b onclick='x()'>\"A&B\"</b>\u{1b}").to_string();
        let wanted = "&lt;b onclick=&#39;x()&#39;&gt;&quot;A&amp;B&quot;&lt;/b&gt;\u{fffd}";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_page_runs_nothing_and_is_kept_by_nobody() {
        let response = Page::new(StatusCode::OK, "Done").say("x").retry_after(7).into_response();
        let header = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'none'"));
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
        assert_eq!(header(header::RETRY_AFTER), "7");
    }
}
