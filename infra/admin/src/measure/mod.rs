//! The figures of the function binaries: size on disk, resident memory of the running processes, cold start.

mod cold_start;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::runtime::{Runtime, RuntimeError, RuntimeUrl};
use crate::table;
use cold_start::{ColdStart, ColdStartError};

/// Which functions are measured, and where they run.
#[derive(Debug, Args)]
pub(crate) struct MeasureOptions {
    /// A running local runtime, such as http://127.0.0.1:8787
    #[arg(long)]
    url: RuntimeUrl,
    /// The folder of the function binaries
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    functions_dir: PathBuf,
    /// Cold starts of each function
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print one JSON object a function instead of the table
    #[arg(long)]
    json: bool,
}

/// No figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("no function runs there")]
    NoFunctions,
    #[error("{path}: {cause}")]
    File { path: String, cause: std::io::Error },
    #[error("{function}: {cause}")]
    ColdStart { function: String, cause: ColdStartError },
}

#[derive(Deserialize)]
struct Functions {
    functions: Vec<Environment>,
}

#[derive(Deserialize)]
struct Environment {
    name: String,
    pid: u32,
}

struct Figures {
    function: String,
    size_bytes: u64,
    resident_bytes: Vec<u64>,
    cold_starts: Vec<ColdStart>,
}

/// Measures every function that runs and prints a row for each.
///
/// # Errors
/// A runtime, a process or a binary that is not there, or a function that does not start.
pub(crate) async fn run(options: &MeasureOptions) -> Result<(), MeasureError> {
    let runtime = Runtime::new(options.url.clone());
    let Functions { functions } = runtime.get("/dev/functions").await?;
    let mut names: Vec<&String> = functions.iter().map(|function| &function.name).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(MeasureError::NoFunctions);
    }
    let mut rows = Vec::new();
    for name in names {
        eprintln!("admin: {} cold starts of {name}", options.runs);
        let pids: Vec<u32> = functions.iter().filter(|other| other.name == *name).map(|other| other.pid).collect();
        let figures = figures(options, name, &pids).await?;
        if options.json {
            println!("{}", figures.json());
        }
        rows.push(figures.row());
    }
    if !options.json {
        let columns = ["function", "size MB", "processes", "resident MB (most)", "cold start ms (median)", "max"];
        println!("{}", table::render(&columns, &rows));
    }
    Ok(())
}

async fn figures(options: &MeasureOptions, function: &str, pids: &[u32]) -> Result<Figures, MeasureError> {
    let binary = options.functions_dir.join(function);
    let file = |cause| MeasureError::File { path: binary.display().to_string(), cause };
    let binary = binary.canonicalize().map_err(file)?;
    let size_bytes = binary.metadata().map_err(file)?.len();
    let mut resident_bytes = Vec::new();
    let mut variables = Vec::new();
    for pid in pids {
        let process = |(path, cause)| MeasureError::File { path, cause };
        resident_bytes.push(process::resident_bytes(*pid).map_err(process)?);
        variables = process::variables(*pid).map_err(process)?;
        if !process::runs(*pid, &binary) {
            eprintln!("admin: process {pid} of {function} runs another binary than {}", binary.display());
        }
    }
    let mut cold_starts = Vec::new();
    for _ in 0..options.runs {
        let cold_start = cold_start::measure(&binary, &variables).await;
        cold_starts.push(cold_start.map_err(|cause| MeasureError::ColdStart { function: function.to_owned(), cause })?);
    }
    cold_starts.sort_unstable();
    Ok(Figures { function: function.to_owned(), size_bytes, resident_bytes, cold_starts })
}

impl Figures {
    fn median(&self) -> Duration {
        self.cold_starts.get(self.cold_starts.len() / 2).copied().unwrap_or_default()
    }

    fn most_resident_bytes(&self) -> u64 {
        self.resident_bytes.iter().copied().max().unwrap_or_default()
    }

    fn row(&self) -> Vec<String> {
        let longest = self.cold_starts.last().copied().unwrap_or_default();
        vec![
            self.function.clone(),
            megabytes(self.size_bytes),
            self.resident_bytes.len().to_string(),
            megabytes(self.most_resident_bytes()),
            format!("{:.1}", self.median().as_secs_f64() * 1_000.0),
            format!("{:.1}", longest.as_secs_f64() * 1_000.0),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let cold_starts: Vec<f64> = self.cold_starts.iter().map(|each| each.as_secs_f64() * 1_000.0).collect();
        json!({
            "function": self.function,
            "sizeBytes": self.size_bytes,
            "residentBytes": self.resident_bytes,
            "coldStartsMs": cold_starts,
        })
    }
}

/// Megabytes of 10^6 bytes, with one digit.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
