//! Requests that CloudWatch is never told of: said when the first is lost, and counted until it takes figures again.

/// How many were lost since CloudWatch last took figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses(usize);

impl Losses {
    /// So many more are lost. Whether that is to be said: they are the first.
    pub fn more(&mut self, requests: usize) -> bool {
        let first = self.0 == 0 && requests > 0;
        self.0 = self.0.saturating_add(requests);
        first
    }

    /// It takes figures again: how many were lost.
    pub fn end(&mut self) -> usize {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_said_and_then_the_sum() {
        let mut losses = Losses::default();
        assert_eq!([0, 2, 1, 0].map(|requests| losses.more(requests)), [false, true, false, false]);
        assert_eq!([losses.end(), losses.end()], [3, 0]);
        assert!(losses.more(1));
    }
}
