//! Looking at tenants and changing them.

use coordinator::api::types::{SlaChange, Tenant, TenantChange};
use shared::alert::Severity;

use super::Desk;
use crate::{
    args::{Paging, TenantSetArgs, values::SlaTime},
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    render::admin,
};

/// How many tenants are listed where nothing was said.
const TENANTS_LISTED: usize = 500;

fn ask_path(tenant: &str) -> String {
    format!("/v1/tenants/{}", escape(tenant))
}

/// Lists tenants.
pub(super) fn list(paging: &Paging, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (query, about) = (Query::default(), About::General);
    let list = desk.client.list("/v1/tenants", &query, paging, TENANTS_LISTED, &about)?;
    desk.print_list(&list, "There is no tenant.", |items: &[Tenant], columns| {
        admin::tenants(items, columns)
    })
}

/// Shows a tenant.
pub(super) fn show(tenant: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let ask = Ask::read(ask_path(tenant)).about(About::Tenant(tenant.to_owned()));
    let (answer, tenant) = desk.client.read::<Tenant>(&ask)?;
    desk.print(&answer, |now, columns| admin::tenant(&tenant, now, columns))
}

/// Changes a tenant.
pub(super) fn set(args: &TenantSetArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let ask = Ask::put(ask_path(&args.tenant), &change(args))
        .if_revision(args.if_revision)
        .about(About::Tenant(args.tenant.clone()));
    let (answer, tenant) = desk.client.read::<Tenant>(&ask)?;
    desk.print(&answer, |now, columns| admin::tenant(&tenant, now, columns))
}

fn change(args: &TenantSetArgs) -> TenantChange {
    let sla_minutes = (!args.sla.is_empty()).then(|| sla_change(&args.sla));
    TenantChange { display_name: args.display_name.clone(), sla_minutes }
}

/// The last one of a severity counts.
fn sla_change(times: &[SlaTime]) -> SlaChange {
    let mut change = SlaChange::default();
    for time in times {
        let place = match time.severity {
            Severity::Unknown => &mut change.unknown,
            Severity::Informational => &mut change.informational,
            Severity::Low => &mut change.low,
            Severity::Medium => &mut change.medium,
            Severity::High => &mut change.high,
            Severity::Critical => &mut change.critical,
            Severity::Fatal => &mut change.fatal,
        };
        *place = Some(time.minutes);
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_changed() {
        let time = |severity, minutes| SlaTime { severity, minutes };
        let args = TenantSetArgs {
            tenant: "acme".to_owned(),
            display_name: None,
            sla: vec![time(Severity::High, 90), time(Severity::High, 60)],
            if_revision: None,
        };
        let body = serde_json::to_string(&change(&args)).unwrap();
        assert_eq!(body, r#"{"sla_minutes":{"high":60}}"#);
        let nothing = TenantSetArgs { sla: Vec::new(), ..args };
        assert_eq!(serde_json::to_string(&change(&nothing)).unwrap(), "{}");
    }
}
