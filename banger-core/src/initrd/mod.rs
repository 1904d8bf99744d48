//! The boot initrd that banger makes.
