//! The rows of a case, and what a case was while it was one row.

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;
use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use super::{Value, ValueError, decode_as};
use crate::triage::{
    case::{Case, CaseId, CaseState, Fence},
    evidence::{Evidence, Finding, Headline, Known},
};

impl Value for Case {
    const VERSION: u8 = 3;
    const NAME: &'static str = "case";

    fn weight(&self) -> usize {
        let state = match &self.state {
            CaseState::Open => 0,
            CaseState::Claimed { holder, .. } => holder.len(),
            CaseState::Closed(verdict) => verdict.reason.len() + verdict.by.len(),
        };
        let last_holder = self.last_holder.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.host.len() + state + self.headline.title.len() + last_holder
    }
}

impl Value for Known {
    const NAME: &'static str = "known findings";

    fn weight(&self) -> usize {
        let techniques = self.techniques.iter().map(|text| size_of::<String>() + text.len());
        let lists = size_of_val(&*self.named) + size_of_val(&*self.others);
        size_of::<Self>() + lists + techniques.sum::<usize>()
    }
}

impl Value for Finding {
    const NAME: &'static str = "finding";

    fn weight(&self) -> usize {
        let Self { product, rule_uid, title, techniques, .. } = self;
        let texts = product.len() + rule_uid.len() + title.len() + techniques.len();
        size_of::<Self>() + texts
    }
}

/// A case as version 1 had it: whole, and without what tells news from more of the same.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct CaseV1 {
    id: CaseId,
    tenant: TenantId,
    host: String,
    state: CaseState,
    severity: Severity,
    risk: u16,
    opened_at: Timestamp,
    deadline: Timestamp,
    first_at: Timestamp,
    last_at: Timestamp,
    alert_count: u64,
    findings: Vec<Finding>,
    other_count: u64,
    fence: Fence,
    last_holder: Option<String>,
    reopened_count: u32,
    revision: u64,
}

/// A case as version 2 had it: behind version 1, the revision of its news, and the beginnings of the fingerprints of
/// findings beyond those that it names.
type CaseV2 = (CaseV1, u64, Vec<u64>);

impl CaseV1 {
    fn into_evidence(self, news_revision: u64, others: Vec<u64>) -> Evidence {
        let Self { id, tenant, host, state, severity, risk, opened_at, deadline, .. } = self;
        let Self { first_at, last_at, alert_count, findings, other_count, fence, .. } = self;
        let Self { last_holder, reopened_count, revision, .. } = self;
        let case = Case {
            id,
            tenant,
            host,
            state,
            severity,
            risk,
            opened_at,
            deadline,
            first_at,
            last_at,
            alert_count,
            headline: Headline::default(),
            other_count,
            fence,
            last_holder,
            reopened_count,
            revision,
            news_revision,
        };
        Evidence::of_whole(case, findings, others)
    }
}

/// Reads a case of an earlier version, which was one row, as the rows of this one; `None` where the row is of this
/// version. The news of a case of version 1 counts as read.
///
/// # Errors
/// The bytes are of an unknown version, or damaged.
pub fn decode_whole(bytes: &[u8]) -> Result<Option<Evidence>, ValueError> {
    match bytes.split_first() {
        Some((1, rest)) => {
            let case = decode_as::<Case, CaseV1>(rest)?;
            Ok(Some(case.into_evidence(0, Vec::new())))
        }
        Some((2, rest)) => {
            let (case, news_revision, others) = decode_as::<Case, CaseV2>(rest)?;
            Ok(Some(case.into_evidence(news_revision, others)))
        }
        _ => Case::decode(bytes).map(|_| None),
    }
}

/// Encodes a case with all its findings as version 1 or 2 did.
#[cfg(test)]
pub(crate) fn encode_whole(version: u8, evidence: &Evidence) -> Vec<u8> {
    let Evidence { case, known, findings, .. } = evidence.clone();
    let Case { id, tenant, host, state, severity, risk, opened_at, deadline, .. } = case;
    let Case { first_at, last_at, alert_count, other_count, fence, last_holder, .. } = case;
    let Case { reopened_count, revision, news_revision, .. } = case;
    let whole = CaseV1 {
        id,
        tenant,
        host,
        state,
        severity,
        risk,
        opened_at,
        deadline,
        first_at,
        last_at,
        alert_count,
        findings: findings.into_values().collect(),
        other_count,
        fence,
        last_holder,
        reopened_count,
        revision,
    };
    let rest = match version {
        1 => shared::wire::codec::encode(&whole),
        _ => shared::wire::codec::encode(&(whole, news_revision, known.others)),
    };
    [vec![version], rest.unwrap()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::{case::tests::group, sla::Sla};

    fn evidence() -> Evidence {
        let group = group("scan", Severity::Medium, 5);
        let id = CaseId::from_digest([7; 16]);
        let now = Timestamp::from_ms(1_000);
        Evidence::open(id, "acme".parse().unwrap(), &group, &Sla::default(), now)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_rows_of_a_case_stay_readable_byte_by_byte() {
        let Evidence { case, known, findings, .. } = evidence();
        let plain = "03fd70707070707070000461636d6504737276310003fb3701fbe803fce8bddb00050501\
                     010003047363616e0000000001\
                     01";
        assert_eq!(hex(&case.encode()), plain);
        assert_eq!(Case::decode(&case.encode()), Ok(case));
        let fingerprint = "abb49f619bf3f68746f7f103a71a6aed";
        assert_eq!(hex(&known.encode()), format!("0101{fingerprint}0001055431313130"));
        assert_eq!(Known::decode(&known.encode()), Ok(known));
        let finding = &findings[&0];
        let texts = "047465737400047363616e055431313130";
        assert_eq!(hex(&finding.encode()), format!("01{fingerprint}{texts}03010505"));
        assert_eq!(Finding::decode(&finding.encode()).as_ref(), Ok(finding));
    }

    #[test]
    fn a_case_that_was_one_row_stays_readable_byte_by_byte() {
        let plain = "fd70707070707070000461636d6504737276310003fb3701fbe803fce8bddb00050501\
                     01abb49f619bf3f68746f7f103a71a6aed0474657374000473\
                     63616e055431313130030105050000000001";
        let rows = evidence();
        assert_eq!(hex(&encode_whole(1, &rows)), format!("01{plain}"));
        assert_eq!(hex(&encode_whole(2, &rows)), format!("02{plain}0100"));
        assert_eq!(decode_whole(&encode_whole(2, &rows)), Ok(Some(rows.clone())));
        let mut unread = rows.clone();
        unread.case.news_revision = 0;
        assert_eq!(decode_whole(&encode_whole(1, &rows)), Ok(Some(unread)));
        assert_eq!(decode_whole(&rows.case.encode()), Ok(None));
        for bytes in [&[][..], &[4, 0], &encode_whole(2, &rows)[..40]] {
            assert!(decode_whole(bytes).is_err());
        }
        let error = Case::decode(&encode_whole(2, &rows)).unwrap_err();
        assert_eq!(error.to_string(), "stored case cannot be read: version 2 is unknown");
    }

    #[test]
    fn what_is_kept_of_a_case_weighs_at_least_what_it_is_encoded_as() {
        let mut rows = evidence();
        for n in 0..300 {
            let mut more = group(&format!("rule {n}"), Severity::Low, 6);
            more.techniques = format!("T{n},{}", "x".repeat(n));
            rows.absorb(&more, &Sla::default(), Timestamp::from_ms(2_000));
        }
        let Evidence { case, known, findings, .. } = rows;
        let case = case.claim(&"ann".repeat(100), crate::limits::LEASE_DEFAULT, Timestamp::ZERO);
        let case = case.unwrap();
        assert!(case.weight() >= case.encode().len());
        assert!(known.weight() >= known.encode().len());
        assert!(findings.values().all(|finding| finding.weight() >= finding.encode().len()));
    }
}
