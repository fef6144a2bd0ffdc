//! How fast the ledger is: `cargo run --release -p holdfast-store --example ledger_speed [FOLDER]`.
//!
//! Prints the time of a durable commit of one change, alone and 16 at a time through the writer, beside a floor
//! (write 4 KiB, fdatasync), and the time to open a ledger of 110 leased pods, closed in order and after SIGKILL.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_model::ledger::Change;
use holdfast_store::{Report, Store, Writer};
use sample::{Dice, full_node, ip, options, what};

const PODS: u64 = 110;
const COMMITS: usize = 1000;

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!("median {:?}, p99 {:?}", at(50), at(99))
}

fn change(dice: &mut Dice) -> Vec<Change> {
    let number = dice.below(PODS);
    vec![Change::PutUse(ip(number), what(number, dice))]
}

fn floor(folder: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(folder.join("floor"))?;
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        let start = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    println!("floor, 4 KiB and fdatasync:    {}", spread(times));
    Ok(())
}

fn alone(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut store = Store::open(path, &options())?.store;
    store.commit(&full_node(PODS))?;
    let mut dice = Dice(1);
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        let changes = change(&mut dice);
        let start = Instant::now();
        store.commit(&changes)?;
        times.push(start.elapsed());
    }
    println!("commit of one change:          {}", spread(times));
    Ok(store.close()?)
}

/// Sixteen clients, each submitting again as soon as its last submission is durable.
fn together(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    type Waiting = Vec<(u64, std::sync::mpsc::SyncSender<()>)>;
    let waiting: Arc<Mutex<Waiting>> = Arc::default();
    let served = Arc::clone(&waiting);
    let writer = Writer::spawn(Store::open(path, &options())?.store, move |report| {
        let Report::Committed { through } = report else { panic!("{report:?}") };
        served.lock().expect("nobody panics").retain(|(number, done)| {
            let is_done = *number <= through;
            if is_done {
                done.send(()).expect("its client waits");
            }
            !is_done
        });
    })?;
    let writer = Arc::new(writer);
    let start = Instant::now();
    let clients: Vec<_> = (0..16_u64)
        .map(|client| {
            let (writer, waiting) = (Arc::clone(&writer), Arc::clone(&waiting));
            std::thread::spawn(move || {
                let mut dice = Dice(client);
                let mut times = Vec::new();
                for _ in 0..COMMITS {
                    let (send, done) = sync_channel(1);
                    let begun = Instant::now();
                    {
                        let mut waiting = waiting.lock().expect("nobody panics");
                        waiting.push((writer.submit(change(&mut dice)), send));
                    }
                    done.recv().expect("it is committed");
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let times: Vec<Duration> =
        clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect();
    let each = start.elapsed() / u32::try_from(times.len())?;
    println!("16 at a time:                  {}, one durable every {each:?}", spread(times));
    Ok(())
}

fn open(path: &Path, what: &str) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let opened = Store::open(path, &options())?;
    let took = start.elapsed();
    println!("open {what} {took:?}, {:?}, {} leases", opened.found, opened.ledger.leases.len());
    Ok(opened.store.close()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    if let Some(victim) = arguments.next() {
        // The child: commits until it is killed.
        let mut store = Store::open(Path::new(&victim), &options())?.store;
        let mut dice = Dice(3);
        for number in 0.. {
            store.commit(&change(&mut dice))?;
            if number == 50 {
                println!("running");
            }
        }
    }
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("ledger.redb");
    floor(folder.path())?;
    alone(&path)?;
    together(&path)?;
    println!("file: {} bytes", std::fs::metadata(&path)?.len());
    open(&path, "closed in order:         ")?;
    for _ in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe()?)
            .args([folder.path(), &path])
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        child.kill()?;
        child.wait()?;
        open(&path, "after SIGKILL:           ")?;
    }
    Ok(())
}
