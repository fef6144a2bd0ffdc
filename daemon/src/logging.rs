//! Structured logs: one JSON object a line on standard error, levels by `AWS_VPC_K8S_CNI_LOGLEVEL`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sets the process's logging up. Levels are upstream's words; an unknown one means `info`. A terminal gets text.
pub(crate) fn set_up(level: Option<&str>, terminal: bool) {
    let level = level_of(level);
    // The SDK's and the HTTP stack's own chatter says nothing that our spans do not.
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse_lossy(format!("warn,holdfast={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if terminal {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).with_target(false).with_span_list(false).init();
    }
    // A panic is a defect: it belongs into the log like everything else, whole and on one line.
    std::panic::set_hook(Box::new(|panic| tracing::error!(panic = %panic, "panicked")));
}

fn level_of(word: Option<&str>) -> LevelFilter {
    match word.map(str::to_ascii_lowercase).as_deref() {
        Some("trace") => LevelFilter::TRACE,
        Some("debug") => LevelFilter::DEBUG,
        Some("warn") => LevelFilter::WARN,
        Some("error" | "fatal") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_words_are_understood_and_others_mean_info() {
        assert_eq!(level_of(Some("DEBUG")), LevelFilter::DEBUG);
        assert_eq!(level_of(Some("fatal")), LevelFilter::ERROR);
        assert_eq!(level_of(Some("loud")), LevelFilter::INFO);
        assert_eq!(level_of(None), LevelFilter::INFO);
    }
}
