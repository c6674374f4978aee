//! `Frame::decode`: a frame's body, as a peer sends it after the length.

use bytes::Bytes;
use shared::{
    limits::FRAME_BYTES_MAX,
    wire::{Frame, LEN_BYTES, checked_len},
};

/// Decodes `data` as a frame. What decodes has one encoding: that decodes to the same frame, and of a block, which is
/// not encoded anew, it is `data`.
///
/// # Panics
/// If not so.
pub fn frame_decode(data: &[u8]) {
    if let Some(len) = data.first_chunk()
        && let Ok(len) = checked_len(*len, FRAME_BYTES_MAX)
    {
        assert!((1..=FRAME_BYTES_MAX).contains(&len));
    }
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) else { return };
    let encoded = bytes_of(&frame);
    let len = checked_len(*encoded.first_chunk().expect("a length"), FRAME_BYTES_MAX);
    assert_eq!(len, Ok(encoded.len() - LEN_BYTES), "a frame that was decoded can be sent");
    let body = Bytes::from(encoded.clone()).slice(LEN_BYTES..);
    if let Frame::Block { .. } = frame {
        assert_eq!(&body[..], data);
    }
    let again = Frame::decode(body).expect("an encoding decodes");
    assert_eq!(again, frame);
    assert_eq!(bytes_of(&again), encoded);
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let encoded = frame.encode();
    [encoded.head, encoded.tail].concat()
}
