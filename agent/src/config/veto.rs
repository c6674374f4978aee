//! What the host's owner lets the agent read, held against the sources that the configuration has.
//!
//! A path is compared as it is written. When a file is opened, it is compared again, by where it really is.

use toml::Spanned;

use super::{
    ConfigError, Input, SourceConfig,
    check::Check,
    raw::{RawSource, RawVeto},
};
use crate::source::{Pattern, Veto};

impl Check<'_> {
    /// Reads the veto, and refuses sources that it is against.
    pub(super) fn veto(
        &self,
        raw: &RawVeto,
        raw_sources: &[Spanned<RawSource>],
        sources: &[SourceConfig],
    ) -> Result<Veto, ConfigError> {
        let pattern = |raw: &Spanned<std::path::PathBuf>| {
            let pattern = Pattern::parse(&self.base.join(raw.get_ref()));
            pattern.map_err(|error| self.error("veto.paths", raw.span(), error.to_string()))
        };
        let veto = match &raw.paths {
            Some(paths) => Veto::of(paths.iter().map(pattern).collect::<Result<_, _>>()?),
            None => Veto::default(),
        };
        for (raw_source, source) in raw_sources.iter().zip(sources) {
            let raw_source = raw_source.get_ref();
            let named = |names: &Vec<String>| names.contains(&source.name);
            if !raw.sources.as_ref().is_none_or(named) {
                let message = format!("{:?} is not listed in veto.sources", source.name);
                return Err(self.error("source.name", raw_source.name.span(), message));
            }
            if let (Input::File { path, .. }, Some(raw_path)) = (&source.input, &raw_source.path)
                && !veto.lists(path)
            {
                let message = format!("{} is not listed in veto.paths", path.display());
                return Err(self.error("source.path", raw_path.span(), message));
            }
        }
        Ok(veto)
    }
}
