//! Pipes, terminals, ports and sockets on the runtime.
//!
//! Purpose: one asynchronous byte stream for every descriptor the agent holds.
//! Invariants: the descriptor does not block; a cancelled read has taken
//! nothing.
//! Entry point: [`Descriptor`].

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

use crate::sys;

/// An open pipe, terminal, port or socket.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<OwnedFd>);

impl Descriptor {
    /// Makes the descriptor non-blocking and gives it to the runtime.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Self(sys::watch(descriptor, interest)?))
    }

    /// Waits until a connection that was begun is made.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        drop(self.0.writable().await?);
        Ok(rustix::net::sockopt::socket_error(self)??)
    }

    /// Reads what is there, waiting for the first byte; 0 is the end.
    /// Dropping the future takes nothing.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |descriptor| {
                Ok(rustix::io::read(descriptor, &mut *buffer)?)
            })
            .await
    }

    /// Writes everything. Dropping the future may leave a part written.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .0
                .async_io(Interest::WRITABLE, |descriptor| {
                    Ok(rustix::io::write(descriptor, bytes)?)
                })
                .await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// How many bytes can be read at once.
    pub(crate) fn waiting(&self) -> usize {
        rustix::io::ioctl_fionread(self)
            .map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncRead for Descriptor {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            let attempt =
                ready.try_io(|descriptor| Ok(rustix::io::read(descriptor, &mut *unfilled)?));
            if let Ok(outcome) = attempt {
                buffer.advance(outcome?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Descriptor {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            if let Ok(outcome) =
                ready.try_io(|descriptor| Ok(rustix::io::write(descriptor, bytes)?))
            {
                return Poll::Ready(outcome);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
