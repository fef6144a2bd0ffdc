//! Drives the machine: asks, reads, waits, publishes.

use std::sync::Arc;

use holdfast_ports::Clock;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::follow::{Follow, Next};
use super::view::View;
use super::wire::{self, PageWire, Trimmed};
use crate::door::Door;
use crate::fault::ApiFault;
use crate::request::Selection;

/// Of a node's pods this is a few pages, each of which is read and let go before the next.
const PAGE_SIZE: u32 = 50;

/// Follows these objects for as long as it is polled.
pub async fn follow<T: Trimmed>(
    door: Door,
    selection: Selection,
    clock: Arc<impl Clock>,
    known: watch::Sender<View<T::View>>,
) {
    let mut machine = Follow::default();
    loop {
        let outcome = match machine.next() {
            Next::List { continued } => {
                list::<T>(&door, &selection, continued.as_deref(), &mut machine, &known).await
            }
            Next::Watch { version } => {
                let longest = u32::try_from(door.deadlines().watch.as_secs()).unwrap_or(u32::MAX).max(2);
                // So that the nodes of a cluster do not all ask anew at once.
                let spread = u32::try_from(clock.random() % u128::from(longest / 2)).unwrap_or(0);
                listen::<T>(&door, &selection, version.as_str(), longest - spread, &mut machine, &known).await
            }
        };
        if let Err(fault) = outcome {
            let was_well = known.borrow().stale.is_none();
            let now = clock.now().boottime;
            debug!(%fault, "the API server was not followed");
            known.send_modify(|view| machine.failed(fault, now, view));
            // Once, until it is well again: what it is at any time is in the view.
            if was_well && let Some(stale) = &known.borrow().stale {
                warn!(fault = %stale.fault, "changes in the cluster are not heard of for now");
            }
        }
        let pause = machine.pause(clock.random());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn list<T: Trimmed>(
    door: &Door,
    selection: &Selection,
    continued: Option<&str>,
    machine: &mut Follow,
    known: &watch::Sender<View<T::View>>,
) -> Result<(), ApiFault> {
    let request = selection.list(PAGE_SIZE, continued)?;
    let asked = Box::new(request.asked.clone());
    let page = door.ask::<PageWire<T>>(request).await?;
    let page = page.page().map_err(|cause| ApiFault { asked, cause })?;
    known.send_if_modified(|view| machine.page(page, view));
    Ok(())
}

async fn listen<T: Trimmed>(
    door: &Door,
    selection: &Selection,
    version: &str,
    seconds: u32,
    machine: &mut Follow,
    known: &watch::Sender<View<T::View>>,
) -> Result<(), ApiFault> {
    let mut lines = door.listen(selection.watch(version, seconds)?).await?;
    known.send_if_modified(|view| machine.listening(view));
    while let Some(line) = lines.next().await? {
        let fault = |cause| ApiFault { asked: Box::new(lines.asked().clone()), cause };
        let event = wire::event::<T>(&line).map_err(fault)?;
        let mut wrong = None;
        known.send_if_modified(|view| match machine.event(event, view) {
            Ok(changed) => changed,
            Err(cause) => {
                wrong = Some(cause);
                false
            }
        });
        if let Some(cause) = wrong {
            return Err(ApiFault { asked: Box::new(lines.asked().clone()), cause });
        }
    }
    machine.ended();
    Ok(())
}
