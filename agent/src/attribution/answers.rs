//! Answers that were given a moment ago.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Outcome, Question};
use crate::limits::{ANSWER_AGE_MAX, ANSWERS_MAX, REFUSAL_AGE_MAX};

/// What is known about one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// As it stands in the alert.
    pub(super) text: String,
}

/// At most [`ANSWERS_MAX`] answers with when they were given.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: HashMap<Question, (Instant, Answer)>,
}

impl Answers {
    /// Returns the answer to `question`, if it is still good at `now`.
    pub(super) fn find(&self, question: &Question, now: Instant) -> Option<&Answer> {
        let (at, answer) = self.kept.get(question)?;
        (now.saturating_duration_since(*at) < good_for(answer)).then_some(answer)
    }

    pub(super) fn keep(&mut self, question: Question, answer: Answer, now: Instant) {
        if self.kept.len() >= ANSWERS_MAX {
            self.kept
                .retain(|_, (at, answer)| now.saturating_duration_since(*at) < good_for(answer));
        }
        if self.kept.len() >= ANSWERS_MAX {
            self.kept.clear();
        }
        self.kept.insert(question, (now, answer));
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
        answers.keep(question(1), answer(Outcome::Found), now);
        answers.keep(question(2), answer(Outcome::NoSocket), now);
        let found = |port, after| answers.find(&question(port), now + after).is_some();
        assert!(found(1, REFUSAL_AGE_MAX) && !found(1, ANSWER_AGE_MAX));
        assert!(found(2, Duration::ZERO) && !found(2, REFUSAL_AGE_MAX));
        assert!(!found(3, Duration::ZERO));
    }

    #[test]
    fn no_more_answers_are_kept_than_the_bound() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for port in 0..u16::MAX {
            let answer = Answer { outcome: Outcome::Found, text: String::new() };
            answers.keep(question(port), answer, now);
            assert!(answers.kept.len() <= ANSWERS_MAX);
            assert!(answers.find(&question(port), now).is_some());
        }
    }
}
