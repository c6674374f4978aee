//! An alert as the API gives it out: [`shared::ocsf`], and what only the coordinator knows of it.

use serde_json::Value;
use shared::ids::TenantId;
pub use shared::ocsf::version;

use crate::store::reader::alerts::{AlertPlace, Found};

/// Returns an alert of `tenant` as a Detection Finding. Its id is where the alert is kept, which is the same for ever.
#[must_use]
pub fn finding(tenant: TenantId, found: &Found) -> Value {
    let Found { place: AlertPlace { block, position }, alert, .. } = found;
    let stream = block.stream;
    let uid = format!("{}/{}/{}/{}/{position}", stream.agent, stream.epoch, stream.lane, block.seq);
    let mut finding = shared::ocsf::finding(alert, &uid);
    finding["metadata"]["tenant_uid"] = tenant.as_str().into();
    finding["metadata"]["processed_time"] = block.received_at.as_ms().into();
    finding
}

#[cfg(test)]
mod tests {
    use shared::{
        alert::Alert,
        ids::{AgentId, Epoch, Lane, Seq, StreamId},
        time::Timestamp,
    };

    use super::*;
    use crate::store::schema::BlockPlace;

    #[test]
    fn a_finding_says_whose_it_is_where_it_is_kept_and_when_it_came() {
        let agent = AgentId::from_bytes([1; 16]);
        let stream = StreamId { agent, epoch: Epoch(0xab), lane: Lane::Urgent };
        let seq = Seq::new(7).unwrap();
        let block = BlockPlace { received_at: Timestamp::from_ms(30), stream, seq };
        let place = AlertPlace { block, position: 2 };
        let found = Found { place, alert: Alert::default(), record: None };
        let finding = finding("acme".parse().unwrap(), &found);
        let uid = "01010101-0101-0101-0101-010101010101/00000000000000ab/urgent/7/2";
        assert_eq!(finding["finding_info"]["uid"], uid);
        assert_eq!(finding["metadata"]["tenant_uid"], "acme");
        assert_eq!(finding["metadata"]["processed_time"], 30);
    }
}
