//! What is said in the log of a thing that fails again and again: once for each cause, and once when it is over.

/// The cause that was said last.
#[derive(Clone, Debug, Default)]
pub struct Told(Option<String>);

impl Told {
    /// It failed. Whether that is to be said: the cause is another one than before.
    pub fn failed(&mut self, cause: impl Into<String>) -> bool {
        let cause = Some(cause.into());
        let is_new = self.0 != cause;
        self.0 = cause;
        is_new
    }

    /// It worked. Whether that is to be said: it failed before.
    pub fn worked(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_its_end_too() {
        let mut told = Told::default();
        assert!(!told.worked());
        let said: Vec<bool> = ["a", "a", "b", "b", "a"].map(|cause| told.failed(cause)).into();
        assert_eq!(said, [true, false, true, false, true]);
        assert_eq!([told.worked(), told.worked()], [true, false]);
        assert!(told.failed("a"));
    }
}
