//! An authority's key that is kept elsewhere: in a hardware module, behind a command.
//!
//! ```text
//! stdin   the bytes to be signed (a certificate's TBSCertificate, DER)
//! stdout  their ECDSA signature on P-256 with SHA-256, DER (RFC 3279, section 2.2.3); exit code 0
//! ```
//! Each certificate runs the command once, which has [`SIGNER_TIMEOUT`] for it. What it answers is checked against the
//! authority's certificate before anybody is given it.

use std::{
    cell::RefCell,
    fmt,
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rcgen::SubjectPublicKeyInfo;
use thiserror::Error;

/// How long a signer may take: a hardware module takes a second, a person who has to touch it some more.
pub const SIGNER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often it is looked whether a signer has ended that has closed its output: for two seconds.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(10);
const END_LOOKS_MAX: u32 = 200;

/// Longest signature that is read, in bytes: on P-256 it has 72 at most.
const SIGNATURE_BYTES_MAX: u64 = 1024;

/// A command that signs with the authority's key.
pub struct ExternalSigner {
    program: String,
    arguments: Vec<String>,
    public_key: SubjectPublicKeyInfo,
}

thread_local! {
    /// Why this thread got no signature when it asked last: rcgen's own errors have no room for that.
    static FAILED: RefCell<Option<SignerError>> = const { RefCell::new(None) };
}

/// Why a signer gave no signature.
#[derive(Debug, Error)]
pub enum SignerError {
    /// No command is configured.
    #[error("the signer's command is empty")]
    Empty,
    /// The command cannot be run.
    #[error("the signer {program:?} cannot be run")]
    Run {
        /// The command.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("the signer {program:?} ended with {status}")]
    Status {
        /// The command.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not end in time.
    #[error("the signer {program:?} did not answer within {} s", SIGNER_TIMEOUT.as_secs())]
    Late {
        /// The command.
        program: String,
    },
}

impl ExternalSigner {
    /// Returns the signer behind `command` (program and arguments), whose key is `public_key`.
    pub(crate) fn new(
        command: &[String],
        public_key: SubjectPublicKeyInfo,
    ) -> Result<Self, SignerError> {
        let (program, arguments) = command.split_first().ok_or(SignerError::Empty)?;
        let (program, arguments) = (program.clone(), arguments.to_vec());
        Ok(Self { program, arguments, public_key })
    }

    pub(crate) const fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }

    /// Signs `message`; why that failed is left for [`Self::take_failure`].
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.run(message).map_err(|error| {
            FAILED.set(Some(error));
            rcgen::Error::RemoteKeyError
        })
    }

    /// Returns why this thread's last signature failed, once.
    pub(crate) fn take_failure() -> Option<SignerError> {
        FAILED.take()
    }

    fn run(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let failed = |source| SignerError::Run { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let answer = exchange(&mut child, message);
        let answer = match answer {
            Ok(answer) => answer,
            Err(Exchange::Late) => {
                end(&mut child).map_err(failed)?;
                return Err(SignerError::Late { program: self.program.clone() });
            }
            Err(Exchange::Failed(source)) => {
                end(&mut child).map_err(failed)?;
                return Err(failed(source));
            }
        };
        let Some(status) = ended(&mut child).map_err(failed)? else {
            end(&mut child).map_err(failed)?;
            return Err(SignerError::Late { program: self.program.clone() });
        };
        if status.success() {
            Ok(answer)
        } else {
            Err(SignerError::Status { program: self.program.clone(), status })
        }
    }
}

enum Exchange {
    Late,
    Failed(io::Error),
}

/// Gives the child what to sign, and reads what it answers until it closes its output.
fn exchange(child: &mut Child, message: &[u8]) -> Result<Vec<u8>, Exchange> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Exchange::Failed(io::Error::other("its input or output is no pipe")));
    };
    let message = message.to_vec();
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut answer = Vec::new();
        // Shorter than a pipe: whoever does not read it does not hold it up.
        let written = match stdin.write_all(&message) {
            // It ended without reading: how it ended says more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        };
        drop(stdin);
        let answered =
            written.and_then(|()| stdout.take(SIGNATURE_BYTES_MAX).read_to_end(&mut answer));
        // Nobody listens once it is late.
        drop(sender.send(answered.map(|_| answer)));
    });
    match receiver.recv_timeout(SIGNER_TIMEOUT) {
        Ok(answered) => answered.map_err(Exchange::Failed),
        Err(_) => Err(Exchange::Late),
    }
}

/// Waits for the end of a child that has closed its output, which is at once; `None` if it goes on.
fn ended(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let (_nobody, pause) = mpsc::sync_channel::<()>(1);
    for _ in 0..END_LOOKS_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        // Nobody sends: it is a pause.
        let _over = pause.recv_timeout(END_LOOK_INTERVAL).is_err();
    }
    Ok(None)
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

impl fmt::Debug for ExternalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalSigner").field("program", &self.program).finish_non_exhaustive()
    }
}
