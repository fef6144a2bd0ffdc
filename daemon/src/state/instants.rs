//! Instants of a dump by one clock, the wall's: the ledger counts from the node's boot, which tells a person nothing.

use holdfast_model::time::{BootTime, Now, WallTime};
use serde_json::Value;

/// Puts words into the place of all instants of a dump.
pub(super) fn tell(dump: &mut Value, now: &Now) {
    dump["now"] = now.wall.to_string().into();
    let boot = dump["ledger"]["node"]["boot"].as_str().unwrap_or_default().to_owned();
    let of_boot = |instant: u64| match instant {
        0 => "not since the boot".to_owned(),
        instant if boot == now.boot.as_str() => now.wall_at(BootTime(instant)).to_string(),
        instant => format!("{instant} ms after the boot {boot}"),
    };
    let of_wall = |instant: u64| WallTime(instant).to_string();
    if let Some(ledger) = dump.get_mut("ledger") {
        each(ledger, "enis", |eni| {
            put(eni, &["since"], &of_boot);
            put(eni, &["changed"], &of_boot);
        });
        each(ledger, "blocks", |block| {
            put(block, &["shown"], &of_boot);
            put(block, &["state", "Gone"], &of_boot);
        });
        each(ledger, "uses", |what| put(what, &["Cooling", "since"], &of_boot));
        each(ledger, "leases", |lease| put(lease, &["created"], &of_wall));
        each(ledger, "intents", |intent| put(intent, &["planned"], &of_wall));
    }
    each(dump, "journal", |entry| put(entry, &["at"], &of_wall));
}

fn each(of: &mut Value, table: &str, mut told: impl FnMut(&mut Value)) {
    match of.get_mut(table) {
        Some(Value::Object(entries)) => entries.values_mut().for_each(&mut told),
        Some(Value::Array(entries)) => entries.iter_mut().for_each(&mut told),
        _ => {}
    }
}

fn put(record: &mut Value, path: &[&str], told: &dyn Fn(u64) -> String) {
    let instant = path.iter().try_fold(record, |value, name| value.get_mut(*name));
    if let Some(instant) = instant
        && let Some(number) = instant.as_u64()
    {
        *instant = told(number).into();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::ids::BootId;
    use serde_json::json;

    use super::*;

    fn told(boot: &str) -> Value {
        let mut dump = json!({
            "ledger": {
                "node": { "boot": boot },
                "enis": { "eni-a": { "since": 1000, "changed": 2000, "mtu": 9001 } },
                "blocks": { "10.0.0.4/32": { "shown": 0, "state": { "Gone": 4000 } }, "10.0.0.5/32": { "state": "Held" } },
                "uses": { "10.0.0.5": { "Leased": "x" }, "10.0.0.4": { "Cooling": { "boot": boot, "since": 3000, "period_ms": 30000 } } },
                "leases": [{ "created": 1000 }],
                "intents": { "x": { "planned": 0 } },
            },
            "journal": [{ "at": 61_000, "what": "w" }],
        });
        let now = Now { boot: BootId::new("b"), boottime: BootTime(10_000), wall: WallTime(70_000) };
        tell(&mut dump, &now);
        dump
    }

    #[test]
    fn all_instants_are_told_by_the_wall_clock() {
        let dump = told("b");
        assert_eq!(dump["now"], "1970-01-01T00:01:10Z");
        let eni = &dump["ledger"]["enis"]["eni-a"];
        assert_eq!(
            *eni,
            json!({ "since": "1970-01-01T00:01:01Z", "changed": "1970-01-01T00:01:02Z", "mtu": 9001 })
        );
        let block = &dump["ledger"]["blocks"]["10.0.0.4/32"];
        assert_eq!(
            *block,
            json!({ "shown": "not since the boot", "state": { "Gone": "1970-01-01T00:01:04Z" } })
        );
        assert_eq!(dump["ledger"]["blocks"]["10.0.0.5/32"]["state"], "Held");
        assert_eq!(dump["ledger"]["uses"]["10.0.0.5"], json!({ "Leased": "x" }));
        let rest = &dump["ledger"]["uses"]["10.0.0.4"]["Cooling"];
        assert_eq!((&rest["since"], &rest["period_ms"]), (&json!("1970-01-01T00:01:03Z"), &json!(30000)));
        assert_eq!(dump["ledger"]["leases"][0]["created"], "1970-01-01T00:00:01Z");
        assert_eq!(dump["ledger"]["intents"]["x"]["planned"], "1970-01-01T00:00:00Z");
        assert_eq!(dump["journal"][0], json!({ "at": "1970-01-01T00:01:01Z", "what": "w" }));
    }

    #[test]
    fn instants_of_an_earlier_boot_are_not_mistaken_for_this_ones() {
        let dump = told("earlier");
        assert_eq!(dump["ledger"]["enis"]["eni-a"]["since"], "1000 ms after the boot earlier");
    }
}
