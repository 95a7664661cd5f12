//! Every cap of this crate: the unit in the name, the reason beside the value.

/// Payload of one record (RFC 8446 section 5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds to its payload at most: header, explicit nonce, content type, tag.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 32;
/// Room for what may stand before the first record of a write: the answer to a key update.
pub(crate) const CONTROL_BYTES: usize = 64;
/// Sessions that one core's clients keep for resumption; rustls keeps eight tickets for each of an eighth as many
/// servers. A ticket holds about 1 KB.
pub(crate) const RESUMABLE_SESSIONS: usize = 2048;
/// Bytes of a file of authorities. All that browsers trust take a quarter of a megabyte.
pub(crate) const AUTHORITIES_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a client's first message. Browsers send under 2 KB, with post-quantum key shares under 4 KB.
pub(crate) const CLIENT_HELLO_BYTES: usize = 64 * 1024;
/// Bytes of a file with a certificate, a chain or a key.
pub(crate) const CERTIFICATE_FILE_BYTES: u64 = 256 * 1024;
/// Certificates in one chain: each is sent with every handshake.
pub(crate) const CHAIN_CERTIFICATES: usize = 16;
/// Pairs in a folder of certificates; each takes about 10 KB.
pub(crate) const FOLDER_PAIRS: usize = 10_000;
/// Bytes of a client certificate's subject that are told; a longer one is not served.
pub(crate) const SUBJECT_BYTES: usize = 4 * 1024;
