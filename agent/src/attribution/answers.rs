//! Answers that were given a moment ago.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use shared::time::Timestamp;

use super::{Outcome, Question};
use crate::limits::{ANSWER_AGE_MAX, ANSWERS_MAX, REFUSAL_AGE_MAX};

/// What is known about one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// As it stands in the alert.
    pub(super) text: String,
}

/// At most [`ANSWERS_MAX`] answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: HashMap<Question, Kept>,
}

#[derive(Debug)]
struct Kept {
    /// When it was given.
    at: Instant,
    /// When the alert happened that it was given for.
    happened_at: Timestamp,
    answer: Answer,
}

impl Answers {
    /// Returns the answer to `question`, if it is still good at `now`. For an alert that happened before the one that
    /// it was given for, the process found may have been begun too late.
    pub(super) fn find(
        &self,
        question: &Question,
        happened_at: Timestamp,
        now: Instant,
    ) -> Option<&Answer> {
        let kept = self.kept.get(question)?;
        (kept.is_good(now) && happened_at >= kept.happened_at).then_some(&kept.answer)
    }

    pub(super) fn keep(
        &mut self,
        question: Question,
        answer: Answer,
        happened_at: Timestamp,
        now: Instant,
    ) {
        if self.kept.len() >= ANSWERS_MAX {
            self.kept.retain(|_, kept| kept.is_good(now));
        }
        if self.kept.len() >= ANSWERS_MAX {
            self.kept.clear();
        }
        self.kept.insert(question, Kept { at: now, happened_at, answer });
    }
}

impl Kept {
    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < good_for(&self.answer)
    }
}

/// A process goes on having its connection; one that was not found may be there the next moment.
fn good_for(answer: &Answer) -> Duration {
    if answer.outcome == Outcome::Found { ANSWER_AGE_MAX } else { REFUSAL_AGE_MAX }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use super::{super::Protocol, *};

    fn question(port: u16) -> Question {
        let local = std::net::SocketAddr::from(([10, 0, 0, 1], port));
        Question { protocol: Protocol::Tcp, local, remote: None }
    }

    #[test]
    fn an_answer_is_good_for_a_while_and_a_refusal_for_a_moment() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let answer = |outcome| Answer { outcome, text: String::new() };
        let at = Timestamp::from_ms(1_000);
        answers.keep(question(1), answer(Outcome::Found), at, now);
        answers.keep(question(2), answer(Outcome::NoSocket), at, now);
        let found = |port, after| answers.find(&question(port), at, now + after).is_some();
        assert!(found(1, REFUSAL_AGE_MAX) && !found(1, ANSWER_AGE_MAX));
        assert!(found(2, Duration::ZERO) && !found(2, REFUSAL_AGE_MAX));
        assert!(!found(3, Duration::ZERO));
    }

    #[test]
    fn an_answer_is_none_for_an_alert_that_happened_before_the_one_it_was_given_for() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let answer = Answer { outcome: Outcome::Found, text: String::new() };
        answers.keep(question(1), answer, Timestamp::from_ms(1_000), now);
        let found = |ms| answers.find(&question(1), Timestamp::from_ms(ms), now).is_some();
        assert!(!found(999) && found(1_000) && found(1_001));
    }

    #[test]
    fn no_more_answers_are_kept_than_the_bound() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for port in 0..u16::MAX {
            let answer = Answer { outcome: Outcome::Found, text: String::new() };
            let at = Timestamp::from_ms(1_000);
            answers.keep(question(port), answer, at, now);
            assert!(answers.kept.len() <= ANSWERS_MAX);
            assert!(answers.find(&question(port), at, now).is_some());
        }
    }
}
