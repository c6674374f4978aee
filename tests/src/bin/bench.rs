//! Measures the product and writes `target/reports/bench.json`: see [`tests::bench`].
//!
//! ```text
//! bench [GROUP...]                     all groups where none is named
//! bench idle-clients FOLDER ADDRESS    started by the group `idle`
//! ```

use anyhow::Result;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["idle-clients", folder, address] => {
            tests::bench::run_clients(folder.as_ref(), address.parse()?)
        }
        _ => tests::bench::run(&args),
    }
}
