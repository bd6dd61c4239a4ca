//! Packed frames of lanes: a stream that somebody made up, in parts, and one of what nobody expects.

use counterfoil_replica::compress::stream::{Packer, Unpacker};

use crate::script::Script;

/// Bytes that a frame may have here.
const LIMIT: usize = 1 << 16;

/// The first two bytes say how long each part is.
pub(crate) fn unpack(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let size = usize::from(script.word()).max(1);
    let stream = script.rest();
    let mut unpacker = Unpacker::new().expect("memory");
    for part in stream.chunks(size) {
        let Ok(frame) = unpacker.unpack(part, LIMIT) else {
            break;
        };
        assert!(frame.len() <= LIMIT, "{} bytes", frame.len());
    }
    let mut packer = Packer::new().expect("memory");
    let mut unpacker = Unpacker::new().expect("memory");
    for frame in stream.chunks(size) {
        let packed = packer.pack(frame).expect("memory");
        let again = unpacker.unpack(&packed, LIMIT);
        assert_eq!(again.expect("it was packed"), frame);
    }
}
