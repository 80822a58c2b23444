//! Class `file_producer`: a file, piece by piece, as it is sent.

use std::io::Read;

use asynchat::{Data, Producer};
use asyncore::Result;
use cap_std::fs::File;

const PIECE_SIZE: usize = 64 * 1024;

pub(crate) struct FileProducer {
    pub(crate) file: File,
    /// Whether LF becomes CRLF.
    pub(crate) ascii: bool,
}

impl Producer for FileProducer {
    fn more(&self) -> Result<Data> {
        let mut piece = vec![0; PIECE_SIZE];
        let read = (&self.file).read(&mut piece)?;
        piece.truncate(read);
        if self.ascii {
            piece = with_cr(&piece);
        }
        Ok(piece.into())
    }
}

fn with_cr(piece: &[u8]) -> Vec<u8> {
    let mut network = Vec::with_capacity(piece.len() + piece.len() / 16);
    for &byte in piece {
        if byte == b'\n' {
            network.push(b'\r');
        }
        network.push(byte);
    }
    network
}
