use proptest::prelude::*;

use super::*;

fn drain(decoder: &mut FrameDecoder) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

#[test]
fn an_announced_length_over_the_limit_is_refused_at_the_fourth_byte() {
    let mut decoder = FrameDecoder::new(16);
    decoder.push(&[0, 0, 0]);
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(&[17]);
    assert_eq!(decoder.next_frame(), Err(FrameError::Oversized { length: 17, limit: 16 }));
    decoder.push(&[1; 100]);
    assert!(decoder.next_frame().is_err(), "a stream without framing has no next frame");
}

#[test]
fn a_frame_of_exactly_the_limit_passes_and_one_more_does_not() {
    let body = [7u8; 16];
    let mut decoder = FrameDecoder::new(16);
    decoder.push(&encode(&body, 16).unwrap());
    assert_eq!(decoder.next_frame().unwrap().as_deref(), Some(&body[..]));
    assert_eq!(encode(&body, 15), Err(FrameError::Oversized { length: 16, limit: 15 }));
}

#[test]
fn truncation_names_what_was_there_and_what_was_announced() {
    let mut decoder = FrameDecoder::new(16);
    assert_eq!(decoder.finish(), Ok(()));
    assert_eq!(decoder.truncated(), FrameError::Truncated { have: 0, want: 4 });
    decoder.push(&[0, 0]);
    assert_eq!(decoder.finish(), Err(FrameError::Truncated { have: 2, want: 4 }));
    decoder.push(&[0, 9, 1, 1]);
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.finish(), Err(FrameError::Truncated { have: 6, want: 13 }));
}

proptest! {
    #[test]
    fn frames_survive_any_split(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
        cuts in prop::collection::vec(1usize..20, 1..60),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|b| encode(b, 64).unwrap()).collect();
        let mut decoder = FrameDecoder::new(64);
        let mut seen = Vec::new();
        let mut rest = stream.as_slice();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            decoder.push(now);
            seen.extend(drain(&mut decoder).unwrap());
            rest = later;
        }
        prop_assert_eq!(seen, bodies);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    /// A reader that takes `missing()` bytes at a time gets each frame without reading into the next.
    #[test]
    fn missing_never_reads_past_a_frame(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..4)) {
        let stream: Vec<u8> = bodies.iter().flat_map(|b| encode(b, 64).unwrap()).collect();
        let mut decoder = FrameDecoder::new(64);
        let mut at = 0;
        for body in &bodies {
            let frame = loop {
                if let Some(frame) = decoder.next_frame().unwrap() { break frame }
                let take = decoder.missing();
                prop_assert!(take > 0);
                decoder.push(&stream[at..at + take]);
                at += take;
            };
            prop_assert_eq!(&frame, body);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
        prop_assert_eq!(at, stream.len());
    }

    #[test]
    fn garbage_never_panics_and_never_yields_an_oversized_frame(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = FrameDecoder::new(32);
        for chunk in bytes.chunks(7) {
            decoder.push(chunk);
            match drain(&mut decoder) {
                Ok(frames) => prop_assert!(frames.iter().all(|f| f.len() <= 32)),
                Err(error) => {
                    let oversized = matches!(error, FrameError::Oversized { limit: 32, .. });
                    prop_assert!(oversized, "{error}");
                    break;
                }
            }
        }
    }
}
