//! The ring against a list of everything that was written.

use proptest::prelude::*;

use super::*;

const OUT: ExecStream = ExecStream::Stdout;
const ERR: ExecStream = ExecStream::Stderr;
/// The smallest there is.
const CAPACITY: usize = MAX_EXEC_CHUNK + RUN_COST;

/// Everything from an offset on, each byte with its stream.
fn rest(ring: &Ring, mut offset: u64, limit: usize) -> Vec<(ExecStream, u8)> {
    let mut all = Vec::new();
    while let Some(piece) = ring.read(offset, limit) {
        assert_eq!(piece.offset, offset);
        assert!((1..=limit).contains(&piece.bytes.len()));
        offset += piece.bytes.len() as u64;
        all.extend(piece.bytes.iter().map(|byte| (piece.stream, *byte)));
    }
    assert_eq!(offset, ring.end());
    all
}

#[test]
fn streams_keep_their_order_and_pieces_their_limit() {
    let mut ring = Ring::new(CAPACITY);
    for (stream, text) in [(OUT, "ab"), (OUT, "c"), (ERR, "d"), (OUT, ""), (ERR, "e")] {
        assert!(ring.push(stream, text.as_bytes(), Full::Refuse));
    }
    let piece = |offset, limit| {
        let piece = ring.read(offset, limit)?;
        Some((
            piece.stream,
            String::from_utf8(piece.bytes.to_vec()).unwrap(),
        ))
    };
    assert_eq!(piece(0, 9), Some((OUT, "abc".to_owned())));
    assert_eq!(piece(1, 1), Some((OUT, "b".to_owned())));
    assert_eq!(piece(3, 9), Some((ERR, "de".to_owned())));
    assert_eq!(piece(5, 9), None);
    assert_eq!(piece(6, 9), None);
}

#[test]
fn a_full_ring_refuses_until_something_is_acknowledged() {
    let mut ring = Ring::new(CAPACITY);
    let chunk = vec![7; MAX_EXEC_CHUNK];
    assert!(ring.push(OUT, &chunk, Full::Refuse));
    assert!(!ring.push(OUT, b"x", Full::Refuse));
    ring.acknowledge(100);
    assert_eq!(
        ring.first(),
        0,
        "what is acknowledged is kept while it can be"
    );
    assert!(ring.push(OUT, b"x", Full::Refuse));
    assert!(0 < ring.first() && ring.first() <= 100);
    assert!(ring.push(ERR, &chunk, Full::DropOldest));
    assert_eq!(ring.read(0, 1), None);
    assert_eq!(ring.end(), 2 * chunk.len() as u64 + 1);
    assert_eq!(rest(&ring, ring.first(), 9999).last(), Some(&(ERR, 7)));
}

#[test]
fn bytes_that_alternate_stay_within_the_capacity() {
    let mut ring = Ring::new(CAPACITY);
    for index in 0..100_000_u32 {
        let stream = if index % 2 == 0 { OUT } else { ERR };
        assert!(ring.push(stream, b"x", Full::DropOldest));
        assert!(ring.cost() <= CAPACITY);
    }
    assert_eq!(ring.end(), 100_000);
    assert!(CAPACITY / (RUN_COST + 2) <= rest(&ring, ring.first(), 9).len());
}

/// Something that happens to a ring.
#[derive(Clone, Debug)]
enum Event {
    Push {
        error: bool,
        length: usize,
        drop: bool,
    },
    Acknowledge {
        part: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<bool>(), 0..=MAX_EXEC_CHUNK, any::<bool>())
            .prop_map(|(error, length, drop)| Event::Push { error, length, drop }),
        2 => (any::<bool>(), 0..40_usize, any::<bool>())
            .prop_map(|(error, length, drop)| Event::Push { error, length, drop }),
        3 => any::<u8>().prop_map(|part| Event::Acknowledge { part }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is kept is the end of what was written, nothing unacknowledged is
    /// refused its place silently, and the memory is bounded.
    #[test]
    fn a_ring_is_the_end_of_what_was_written(events in prop::collection::vec(event(), 1..60)) {
        let mut ring = Ring::new(2 * CAPACITY);
        let mut written = Vec::new();
        let mut acknowledged = 0;
        let mut dropping = false;
        for event in events {
            match event {
                Event::Push { error, length, drop } => {
                    let stream = if error { ERR } else { OUT };
                    let chunk: Vec<u8> = (0..length)
                        .map(|index| u8::try_from((written.len() + index) % 251).unwrap())
                        .collect();
                    let full = if drop { Full::DropOldest } else { Full::Refuse };
                    dropping |= drop;
                    let before = ring.first();
                    if ring.push(stream, &chunk, full) {
                        written.extend(chunk.iter().map(|byte| (stream, *byte)));
                    } else {
                        prop_assert!(!drop);
                        let unacknowledged = ring.end() - acknowledged.max(ring.first());
                        prop_assert!(MAX_EXEC_CHUNK < length + index(unacknowledged));
                    }
                    if !drop {
                        prop_assert!(ring.first() <= before.max(acknowledged));
                    }
                }
                Event::Acknowledge { part } => {
                    let offset = ring.end() * u64::from(part) / 255;
                    acknowledged = acknowledged.max(offset);
                    ring.acknowledge(offset);
                }
            }
            prop_assert_eq!(ring.end(), written.len() as u64);
            prop_assert!(ring.cost() <= 2 * CAPACITY);
            prop_assert!(dropping || ring.first() <= acknowledged);
            let kept = &written[index(ring.first())..];
            let middle = ring.first() + (ring.end() - ring.first()) / 2;
            prop_assert_eq!(&rest(&ring, ring.first(), 1 << 20), kept);
            let half = &written[index(middle)..];
            prop_assert_eq!(&rest(&ring, middle, 40_000), half);
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
