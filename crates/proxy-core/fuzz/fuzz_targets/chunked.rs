//! Any bytes as a chunked body: no panic, and the same payload and end however the bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_core::http::body::BodyDecoder;
use proxy_core::http::head::Length;

/// Payload, whether the body is whole, and the bytes that belong to it; `None`: refused.
fn decode(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool, usize)> {
    let mut decoder = BodyDecoder::new(Length::Chunked);
    let (mut payload, mut consumed) = (Vec::new(), 0);
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let decoded = decoder.decode(&mut bytes).ok()?;
        assert!(decoded.payload_start <= decoded.payload_end && decoded.payload_end <= decoded.consumed);
        payload.extend_from_slice(&bytes[decoded.payload_start..decoded.payload_end]);
        consumed += decoded.consumed;
        if decoder.is_done() {
            break;
        }
        assert_eq!(decoded.consumed, piece.len(), "a body that is not whole takes every byte");
    }
    Some((payload, decoder.is_done(), consumed))
}

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    let cut = usize::from(cut).min(bytes.len());
    let whole = decode(&[&bytes]);
    assert_eq!(whole, decode(&[&bytes[..cut], &bytes[cut..]]));
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, decode(&single));
});
