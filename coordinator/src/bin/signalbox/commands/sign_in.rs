//! Signing in at the provider of identities that the coordinator knows, in a browser that may be on another machine.

use std::{
    io::{self, IsTerminal as _},
    process::{Command as Process, Stdio},
    time::{Duration, Instant},
};

use coordinator::api::types::{SignInBegun, SignInPoll, SignInRequest, SignInState};

use crate::{
    client::{Ask, Client, pause},
    failure::Failure,
    limits::{SIGN_IN_POLL_MAX, SIGN_IN_POLL_MIN, SIGN_IN_WORD_INTERVAL},
    output::Output,
    settings::{Environment, Secret},
    text::{Paint, length, paint, safe},
};

const SIGN_INS: &str = "/v1/sign-ins";
/// What a desktop has that opens addresses.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// Signs somebody in, and returns their token; nothing where the coordinator knows no provider.
///
/// # Errors
/// They are not let in, or not in time, or the coordinator does not answer.
pub(super) fn sign_in(
    client: &Client,
    environment: &impl Environment,
    opens_browser: bool,
    output: &Output,
) -> Result<Option<Secret>, Failure> {
    let begun = match client.read::<SignInBegun>(&Ask::post(SIGN_INS, &SignInRequest {})) {
        Ok((_, begun)) => begun,
        // A coordinator from before there was signing in has nothing there.
        Err(failure) if matches!(failure.problem_name(), Some("conflict" | "not-found")) => {
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let opened =
        opens_browser && is_web(&begun.url) && has_desktop(environment) && open(&begun.url);
    output.note(&instructions(&begun, opened));
    let path = format!("{SIGN_INS}/{}/poll", crate::client::path::escape(&begun.id));
    let ask = Ask::post(path, &SignInPoll { secret: begun.secret.clone() });
    let wait = Duration::from_secs(begun.poll_seconds.into());
    let wait = wait.clamp(SIGN_IN_POLL_MIN, SIGN_IN_POLL_MAX);
    let mut waited = Duration::ZERO;
    let began_at = instant();
    loop {
        let left = left(&begun, began_at.elapsed()).ok_or(Failure::NotSignedIn)?;
        pause(wait);
        waited += wait;
        match client.read::<SignInState>(&ask) {
            Ok((_, SignInState::Done { secret, .. })) => {
                return Secret::parse(&secret, "the coordinator's answer").map(Some);
            }
            Ok((_, SignInState::Waiting)) => {}
            // It has run out there, or the coordinator was restarted.
            Err(failure) if failure.problem_name() == Some("not-found") => {
                return Err(Failure::NotSignedIn);
            }
            Err(failure) => return Err(failure),
        }
        if waited >= SIGN_IN_WORD_INTERVAL {
            waited = Duration::ZERO;
            output.note(&format!("Still waiting; {} left.", length(left.as_secs())));
        }
    }
}

/// Returns how much time is left, whatever the clock on the wall says; nothing where there is none.
fn left(begun: &SignInBegun, elapsed: Duration) -> Option<Duration> {
    let life = Duration::from_secs(begun.expires_in_seconds.into());
    life.checked_sub(elapsed).filter(|left| !left.is_zero())
}

#[expect(clippy::disallowed_methods, reason = "this is where the command line takes the time")]
fn instant() -> Instant {
    Instant::now()
}

fn instructions(begun: &SignInBegun, opened: bool) -> String {
    let what = match opened {
        true => "Your browser opens this address; sign in there:",
        false => "Open this address in a browser, on this machine or another, and sign in there:",
    };
    format!(
        "{what}\n\n  {}\n\nIt will ask whether this is your terminal. Say yes only if it shows \
         this code:\n\n  {}\n",
        safe(&begun.url),
        paint(Paint::Bold, &safe(&begun.code))
    )
}

/// Only what a browser is for is handed to what opens things.
fn is_web(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns whether somebody sits before a desktop, and not at the other end of a line.
fn has_desktop(environment: &impl Environment) -> bool {
    let is_set = |name: &str| environment.var(name).is_some();
    io::stderr().is_terminal()
        && !is_set("SSH_CONNECTION")
        && (cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY"))
}

/// Opens an address; returns whether there was something to open it with.
fn open(url: &str) -> bool {
    let start = |opener: &&str| {
        let mut process = Process::new(opener);
        process.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It is not waited for: some openers live as long as the browser.
        process.spawn().is_ok()
    };
    OPENERS.iter().any(start)
}

#[cfg(test)]
mod tests {
    use coordinator::api::types::Time;
    use shared::time::Timestamp;

    use super::*;
    use crate::text::finish;

    fn begun() -> SignInBegun {
        SignInBegun {
            id: "0".repeat(32),
            url: "https://id.example/authorize?x=y\u{1b}[2J".to_owned(),
            code: "BCDF-GHJK".to_owned(),
            secret: "hidden".to_owned(),
            expires_at: Time(Timestamp::ZERO),
            expires_in_seconds: 600,
            poll_seconds: 2,
        }
    }

    #[test]
    fn waiting_ends_with_the_sign_in_on_a_machine_whose_clock_is_wrong() {
        // By the wall it was over before it began.
        let left = |seconds| left(&begun(), Duration::from_secs(seconds));
        assert_eq!(left(0), Some(Duration::from_secs(600)));
        assert_eq!(left(599), Some(Duration::from_secs(1)));
        assert_eq!((left(600), left(601)), (None, None));
    }

    #[test]
    fn a_person_is_told_what_to_open_and_what_to_compare() {
        let text = finish(&instructions(&begun(), false), false);
        assert!(text.contains("\n  https://id.example/authorize?x=y\\u{1b}[2J\n"), "{text}");
        assert!(text.contains("\n  BCDF-GHJK\n") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn only_addresses_of_the_web_are_opened() {
        for bad in ["", "file:///etc/passwd", "-h", "javascript:x", "https://a b", "https://a\n"] {
            assert!(!is_web(bad), "{bad}");
        }
        assert!(is_web("https://id.example/authorize?a=b") && is_web("http://127.0.0.1:3000/x"));
    }
}
