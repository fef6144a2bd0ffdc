//! A metrics page that is made elsewhere.

use tokio::sync::watch;

use crate::page::TEXT;
use crate::site::{Page, Site};

/// The site of a metrics port that shows a text as it is.
pub struct Text(watch::Receiver<Option<String>>);

impl Text {
    /// Shows the latest of these; nothing while there is none, which a scraper takes for a target that is down.
    pub fn new(latest: watch::Receiver<Option<String>>) -> Self {
        Self(latest)
    }
}

impl Site for Text {
    async fn page(&self, path: &str) -> Page {
        if path != "/metrics" {
            return Page::not_found("the metrics are at /metrics");
        }
        match self.0.borrow().clone() {
            Some(text) => Page::found(TEXT, text),
            None => Page::not_now("the cluster cannot be seen just now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[tokio::test]
    async fn what_is_not_known_is_not_shown_as_nothing() {
        let (tell, latest) = watch::channel(None);
        let site = Text::new(latest);
        assert_eq!(site.page("/metrics").await.status, StatusCode::SERVICE_UNAVAILABLE);
        tell.send_replace(Some("a 1\n".to_owned()));
        let page = site.page("/metrics").await;
        assert_eq!((page.status, &page.body[..]), (StatusCode::OK, &b"a 1\n"[..]));
        assert_eq!(site.page("/").await.status, StatusCode::NOT_FOUND);
    }
}
