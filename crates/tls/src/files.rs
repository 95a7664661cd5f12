//! The files that certificates are in: which there are, and reading them, again whenever they have changed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bounds::{CERTIFICATE_FILE_BYTES, FOLDER_PAIRS};
use crate::certificate::{Certificate, Pem};
use crate::error::Error;
use crate::hello::plain;
use crate::served::{Entry, Members, Place, Served, Terms};
use crate::trust;

const CERTIFICATE: &str = "crt";
const KEY: &str = "key";

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, perhaps with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// More certificates of the chain, in order.
    pub chain: Vec<PathBuf>,
}

/// All there is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The default certificate, and those of listening addresses.
    pub named: Vec<(Place, Pair)>,
    /// A folder of pairs, `<host>.crt` and `<host>.key`.
    pub folder: Option<PathBuf>,
    /// The authorities of clients' certificates; `None`: clients are not asked for any.
    pub members: Option<PathBuf>,
    /// Whether clients must show one.
    pub members_required: bool,
    /// Whether TLS 1.2 is spoken too.
    pub tls12: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// Whether a file of that name in the folder of pairs may be one of a pair.
pub fn is_of_pair(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == CERTIFICATE || extension == KEY)
}

/// What tells files from those that stood in their places before: links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(Vec<(PathBuf, Option<Trace>)>);

/// Number, change in seconds and nanoseconds (that of the permissions counts), length.
type Trace = (u64, i64, i64, u64);

/// What reading the files came to.
#[derive(Debug)]
pub struct Reading {
    /// Of the files just before they were read.
    pub traces: Traces,
    /// What can be served; `None`: nothing, since the authorities of clients are of no use.
    pub served: Option<Served>,
    /// What is of no use of the files that are named, the folder as a whole included.
    pub faults: Vec<Error>,
    /// What is of no use in the folder, without which the others go on.
    pub broken: Vec<Error>,
    /// What an operator should know: the file, and what is odd about it.
    pub doubts: Vec<String>,
}

impl Files {
    /// Reads them all. `now` is in seconds since 1970.
    pub fn read(&self, now: u64) -> Reading {
        let mut reading = Reading {
            traces: self.traces(),
            served: None,
            faults: Vec::new(),
            broken: Vec::new(),
            doubts: Vec::new(),
        };
        let mut entries: Vec<Entry> = Vec::new();
        if let Some(folder) = &self.folder {
            read_folder(folder, now, &mut entries, &mut reading);
        }
        for (place, pair) in &self.named {
            let certificate = read_pair(pair).map_err(|error| reading.faults.push(error)).ok();
            reading.doubt(certificate.as_ref(), &pair.certificate, now);
            entries.push((place.clone(), certificate.map(Arc::new)));
        }
        let members = match self.members.as_deref().map(trust::read_roots).transpose() {
            Ok(roots) => roots.map(|roots| Members { roots, required: self.members_required }),
            Err(error) => {
                reading.faults.push(error);
                return reading;
            }
        };
        let terms = Terms { tls12: self.tls12, http2: self.http2, members };
        match Served::new(terms, entries) {
            Ok(served) => reading.served = Some(served),
            Err(error) => reading.faults.push(error),
        }
        reading
    }

    /// Those of the files as they are now, of all in the folder too.
    pub fn traces(&self) -> Traces {
        let trace = |path: PathBuf| {
            let about =
                |about: Metadata| (about.st_ino(), about.st_ctime(), about.st_ctime_nsec(), about.len());
            let found = path.metadata().ok().map(about);
            (path, found)
        };
        let mut paths: BTreeSet<PathBuf> = self.paths().map(Path::to_owned).collect();
        let listed = self.folder.as_ref().and_then(|folder| folder.read_dir().ok());
        paths.extend(listed.into_iter().flatten().flatten().map(|entry| entry.path()));
        Traces(paths.into_iter().map(trace).collect())
    }

    /// Every file and folder that is to be watched.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let named = self.named.iter().flat_map(|(_, pair)| {
            pair.chain.iter().chain([&pair.certificate, &pair.key]).map(PathBuf::as_path)
        });
        named.chain(self.folder.as_deref()).chain(self.members.as_deref())
    }
}

impl Reading {
    fn doubt(&mut self, certificate: Option<&Certificate>, file: &Path, now: u64) {
        let doubts = certificate.map(|certificate| certificate.doubts(now)).unwrap_or_default();
        self.doubts.extend(doubts.into_iter().map(|doubt| format!("{}: {doubt}", file.display())));
    }
}

fn read_pair(pair: &Pair) -> Result<Certificate, Error> {
    let chain = std::iter::once(&pair.certificate).chain(&pair.chain);
    let chain: Vec<(String, Vec<u8>)> = chain.map(|file| read_file(file)).collect::<Result<_, _>>()?;
    let (key_origin, key) = read_file(&pair.key)?;
    let chain: Vec<Pem<'_>> = chain.iter().map(|(origin, text)| Pem { origin, text }).collect();
    Certificate::parse(&chain, Pem { origin: &key_origin, text: &key })
}

/// A file's name and what it holds.
fn read_file(path: &Path) -> Result<(String, Vec<u8>), Error> {
    let origin = path.display().to_string();
    let mut text = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(CERTIFICATE_FILE_BYTES + 1).read_to_end(&mut text));
    let problem = match read {
        Err(error) => error.to_string(),
        Ok(_) if text.len() as u64 > CERTIFICATE_FILE_BYTES => {
            format!("it has more than {CERTIFICATE_FILE_BYTES} bytes")
        }
        Ok(_) => return Ok((origin, text)),
    };
    Err(Error::Pair { origin, problem })
}

/// Reads the pairs of a folder in the order of their names.
fn read_folder(folder: &Path, now: u64, entries: &mut Vec<Entry>, reading: &mut Reading) {
    let cannot = |problem: String| Error::Pair { origin: folder.display().to_string(), problem };
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) => return reading.faults.push(cannot(format!("{error}; accepted: a readable directory"))),
    };
    let mut hosts: BTreeSet<String> = BTreeSet::new();
    for path in listed.flatten().map(|entry| entry.path()) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_ours = matches!(extension, Some(CERTIFICATE | KEY));
        let Some(host) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_ours) else {
            continue;
        };
        hosts.insert(host.to_owned());
    }
    if hosts.len() > FOLDER_PAIRS {
        let problem =
            format!("{} pairs are too many; the first {FOLDER_PAIRS} by name are read", hosts.len());
        reading.broken.push(cannot(problem));
    }
    for host in hosts.into_iter().take(FOLDER_PAIRS) {
        let file = |extension: &str| folder.join(format!("{host}.{extension}"));
        let pair = Pair { certificate: file(CERTIFICATE), key: file(KEY), chain: Vec::new() };
        let certificate = read_pair(&pair).map_err(|error| reading.broken.push(error)).ok();
        reading.doubt(certificate.as_ref(), &pair.certificate, now);
        let name = plain(&host);
        let named = certificate.as_ref().filter(|certificate| !is_for(certificate, &name));
        let doubt = |_: &Certificate| format!("{}: it is not for {name}", pair.certificate.display());
        reading.doubts.extend(named.map(doubt));
        entries.push((Place::Host(name), certificate.map(Arc::new)));
    }
}

/// Whether the certificate is for the name its file has.
fn is_for(certificate: &Certificate, name: &str) -> bool {
    certificate.names().iter().any(|own| own == name) || certificate.covers(name)
}
