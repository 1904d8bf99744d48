//! Guests of a few instructions, as kernels that every backend boots.
//!
//! Each is an ELF64 at 16 MiB with a PVH note ("The x86/HVM direct boot ABI"
//! of Xen): QEMU, and Firecracker where it knows PVH, enter it in protected
//! mode, others in long mode. So all instructions are ones that mean the same in
//! both, and nothing needs a stack.

/// Where the code is loaded and entered.
const ADDRESS: u32 = 16 << 20;
/// Where the code is in the file.
const OFFSET: u32 = 0x1000;
/// Size of the file and program headers (System V ABI, ELF64).
const HEADER: usize = 64;
const PROGRAM_HEADER: u16 = 56;
/// Xen's note with the entry for PVH (`XEN_ELFNOTE_PHYS32_ENTRY`).
const PHYS32_ENTRY: u32 = 18;

/// Says 1, 2, 3 and so on, each on a line of eight hexadecimal digits, for
/// ever.
pub(super) fn counter() -> Vec<u8> {
    let mut digit = vec![
        0xc1, 0xc3, 0x04, // rol ebx, 4
        0x89, 0xd8, // mov eax, ebx
        0x83, 0xe0, 0x0f, // and eax, 15
        0x04, 0x30, // add al, '0'
        0x3c, 0x39, // cmp al, '9'
        0x76, 0x02, // jbe over the next
        0x04, 0x27, // add al, 'a' - '9' - 1
    ];
    digit.extend(put());
    let mut round = vec![
        0x83, 0xc6, 0x01, // add esi, 1
        0x89, 0xf3, // mov ebx, esi
        0xb9, 8, 0, 0, 0, // mov ecx, 8
    ];
    round.extend(&digit);
    round.extend([0xe2, back(digit.len() + 2)]); // loop digit
    round.extend(say("\n"));
    round.extend([0xb9, 0, 0, 1, 0]); // mov ecx, 64 Ki
    round.extend([0xe2, 0xfe]); // loop to itself
    let mut code = vec![0x31, 0xf6]; // xor esi, esi
    code.extend(&round);
    code.extend([0xeb, back(round.len() + 2)]); // jmp round
    kernel(&code)
}

/// Says a text, then ends its machine: by the keyboard controller where there
/// is one, else by an exception without a handler. Never by both: the controller
/// needs a moment, and a guest that goes on faults meanwhile.
pub(super) fn farewell(text: &str) -> Vec<u8> {
    let mut code = say(text);
    code.extend([
        0xe4, 0x64, // in al, status
        0x3c, 0xff, // cmp al, what is read where nothing is
        0x74, 0x06, // je over the controller
        0xb0, 0xfe, // mov al, reset
        0xe6, 0x64, // out command, al
        0xeb, 0xfe, // jmp to itself
    ]);
    // no table, no handler of its absence
    let table = ADDRESS + u32::try_from(code.len()).unwrap() + 9;
    code.push(0xb8); // mov eax, table
    code.extend(table.to_le_bytes());
    code.extend([0x0f, 0x01, 0x18, 0xcc]); // lidt [eax]; int3
    code.extend([0; 16]);
    kernel(&code)
}

/// Waits for a key of the keyboard controller's, then ends its machine by it.
pub(super) fn obedient() -> Vec<u8> {
    kernel(&[
        0xe4, 0x64, // in al, status
        0xa8, 0x01, // test al, a byte is there
        0x74, 0xfa, // jz to `in`
        0xb0, 0xfe, // mov al, reset
        0xe6, 0x64, // out command, al
        0xeb, 0xfe, // jmp to itself
    ])
}

/// Stands still for ever, whatever it is sent.
pub(super) fn deaf() -> Vec<u8> {
    kernel(&[
        0xfa, // cli
        0xf4, // hlt
        0xeb, 0xfd, // jmp to `hlt`
    ])
}

/// Says a text, byte by byte.
fn say(text: &str) -> Vec<u8> {
    let bytes = text.bytes();
    bytes
        .flat_map(|byte| [vec![0xb0, byte], put()].concat())
        .collect()
}

/// Puts `al` on the first serial port once it takes it.
fn put() -> Vec<u8> {
    vec![
        0x89, 0xc7, // mov edi, eax
        0x66, 0xba, 0xfd, 0x03, // mov dx, line status
        0xec, // in al, dx
        0xa8, 0x20, // test al, transmitter is empty
        0x74, 0xfb, // jz to `in`
        0x89, 0xf8, // mov eax, edi
        0x66, 0xba, 0xf8, 0x03, // mov dx, transmitter
        0xee, // out dx, al
    ]
}

/// A jump back over so many bytes, the jump's own among them.
fn back(bytes: usize) -> u8 {
    let distance = i8::try_from(bytes).unwrap();
    distance.wrapping_neg().cast_unsigned()
}

fn kernel(code: &[u8]) -> Vec<u8> {
    let note = note();
    let note_offset = HEADER + 2 * usize::from(PROGRAM_HEADER);
    let mut file = header();
    // types PT_LOAD and PT_NOTE, flags read, write and execute
    let size = u64::try_from(code.len()).unwrap();
    file.extend(program_header(1, u64::from(OFFSET), ADDRESS, size, 0x1000));
    let note_size = u64::try_from(note.len()).unwrap();
    file.extend(program_header(4, note_offset as u64, 0, note_size, 4));
    file.extend(note);
    file.resize(OFFSET as usize, 0);
    file.extend(code);
    file
}

fn header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([2, 0, 62, 0, 1, 0, 0, 0]); // ET_EXEC, EM_X86_64, version 1
    header.extend(u64::from(ADDRESS).to_le_bytes()); // entry
    header.extend((HEADER as u64).to_le_bytes()); // program headers
    header.extend([0; 12]); // no sections, no flags
    header.extend([64, 0]);
    header.extend(PROGRAM_HEADER.to_le_bytes());
    header.extend([2, 0, 64, 0, 0, 0, 0, 0]);
    header
}

fn program_header(kind: u32, offset: u64, address: u32, size: u64, align: u64) -> Vec<u8> {
    let address = u64::from(address);
    let mut header = Vec::new();
    header.extend(kind.to_le_bytes());
    header.extend(7_u32.to_le_bytes());
    for number in [offset, address, address, size, size, align] {
        header.extend(number.to_le_bytes());
    }
    header
}

fn note() -> Vec<u8> {
    let mut note = Vec::new();
    for number in [4, 8, PHYS32_ENTRY] {
        note.extend(number.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(u64::from(ADDRESS).to_le_bytes());
    note
}

#[test]
fn a_kernel_is_laid_out_as_its_headers_say() {
    let file = kernel(&[0xf4]);
    assert_eq!(file.len(), OFFSET as usize + 1);
    let note = HEADER + 2 * usize::from(PROGRAM_HEADER);
    assert_eq!(&file[note + 12..note + 16], b"Xen\0");
    assert_eq!(file[0x20], 64);
}
