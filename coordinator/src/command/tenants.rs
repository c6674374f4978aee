//! Tenants: made at first contact by a certificate of our authority, or by a person; changed by a lead.

use shared::{ids::TenantId, time::Timestamp};

use crate::{
    command::{CommandError, journal},
    limits::TEXT_BYTES_MAX,
    store::{
        engine::Staged,
        schema::TenantKey,
        tables::{LoadError, Source, put},
        values::{Actor, Entry, Event, Tenant},
    },
    triage::sla::{MINUTES_MAX, Sla},
};

/// Returns the tenant as it is stored, or as one that was never heard of begins.
///
/// # Errors
/// The store cannot be read.
pub fn load_or_default(
    staged: &Staged<'_>,
    tenant: TenantId,
    now: Timestamp,
) -> Result<Tenant, LoadError> {
    Ok(staged.load(&TenantKey(tenant))?.unwrap_or_else(|| Tenant {
        display_name: tenant.to_string(),
        sla: Sla::default(),
        created_at: now,
        revision: 0,
    }))
}

/// Makes the tenant if it is not there yet.
///
/// # Errors
/// The store cannot be read.
pub fn ensure(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), CommandError> {
    if staged.load(&TenantKey(tenant))?.is_none() {
        let fresh = load_or_default(staged, tenant, now)?;
        store(staged, tenant, fresh, actor, now)?;
    }
    Ok(())
}

/// Sets a tenant's display name and agreed times, making the tenant if it is not there. `expected`
/// is the revision that
/// the caller has seen; without it the last one to write wins.
///
/// # Errors
/// A value that is not allowed, or a revision that is not the newest.
pub fn set(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    (display_name, sla): (Option<String>, Option<Sla>),
    expected: Option<u64>,
    actor: &Actor,
    now: Timestamp,
) -> Result<Tenant, CommandError> {
    let mut changed = load_or_default(staged, tenant, now)?;
    if let Some(expected) = expected.filter(|expected| *expected != changed.revision) {
        let is = changed.revision;
        return Err(CommandError::Changed { what: "tenant", expected, is });
    }
    if let Some(name) = display_name {
        if name.trim().is_empty() || name.len() > TEXT_BYTES_MAX {
            let problem = format!("must have 1 to {TEXT_BYTES_MAX} bytes");
            return Err(CommandError::Invalid { field: "display_name", problem });
        }
        changed.display_name = name;
    }
    if let Some(sla) = sla {
        if !sla.is_valid() {
            let problem = format!("each must be 1 to {MINUTES_MAX} minutes");
            return Err(CommandError::Invalid { field: "sla_minutes", problem });
        }
        changed.sla = sla;
    }
    store(staged, tenant, changed, actor, now)
}

fn store(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    mut value: Tenant,
    actor: &Actor,
    now: Timestamp,
) -> Result<Tenant, CommandError> {
    value.revision += 1;
    put(staged, &TenantKey(tenant), value.clone());
    let event = Event::TenantChanged { revision: value.revision };
    journal::append(staged, &Entry { at: now, actor: actor.clone(), tenant: Some(tenant), event })?;
    Ok(value)
}

#[cfg(test)]
mod tests;
