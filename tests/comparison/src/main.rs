//! Matches every rule of a folder against every event of a file with sigma-rust, and prints how fast that was.
//!
//! ```text
//! comparison RULES EVENTS    events as lines of flat JSON objects; prints one JSON object
//! ```

use std::{error::Error, fs, time::Instant};

use sigma_rust::{event_from_json, rule_from_yaml};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(rules), Some(events)) = (args.next(), args.next()) else {
        return Err("comparison RULES EVENTS".into());
    };
    let (mut loaded, mut refused) = (Vec::new(), 0);
    for entry in fs::read_dir(rules)? {
        match rule_from_yaml(&fs::read_to_string(entry?.path())?) {
            Ok(rule) => loaded.push(rule),
            Err(_) => refused += 1,
        }
    }
    let text = fs::read_to_string(events)?;
    let events = text.lines().map(event_from_json).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let matches = |event| loaded.iter().filter(|rule| rule.is_match(event)).count();
    let matches: usize = events.iter().map(matches).sum();
    let rate = events.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "events_per_s": rate,
            "events": events.len(),
            "loaded": loaded.len(),
            "refused": refused,
            "matches": matches,
        })
    );
    Ok(())
}
