//! Loops that end by themselves have no counter: what the driver gets is searched for one.

use std::collections::BTreeSet;

use mustdrop::kernel::{KERNELS, product};
use naga::{
    back::spv,
    valid::{Capabilities, ValidationFlags, Validator},
};

use super::COUNTED;

/// Checked, each loop would count its rounds in a pair of words, from the largest number down.
#[test]
fn no_shader_that_the_driver_gets_counts_the_rounds_of_its_loops() {
    let text = product::QUANTISED_VECTOR.text();
    let [checked, unchecked] = [true, false].map(|force_loop_bounding| {
        let module = naga::front::wgsl::parse_str(&text).expect("valid, as another test sees");
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
        let info = validator.validate(&module).expect("valid, as another test sees");
        let options = spv::Options { force_loop_bounding, ..spv::Options::default() };
        spv::write_vec(&module, &info, &options, None).expect("SPIR-V")
    });
    assert!(counts_rounds(&checked) && !counts_rounds(&unchecked), "this test sees what it looks for");
    let names: BTreeSet<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
    let mut seen = BTreeSet::new();
    for shader in &COUNTED.shaders {
        let Some(name) = names.get(entry_point(shader).as_str()) else { continue };
        assert!(!counts_rounds(shader), "{name}");
        seen.insert(*name);
    }
    assert_eq!(seen, names, "the driver got every shader");
}

/// The instructions of a SPIR-V module: operation and operands.
fn instructions(shader: &[u32]) -> impl Iterator<Item = (u32, &[u32])> {
    const HEADER: usize = 5;
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let first = *shader.get(at)?;
        let (words, operation) = ((first >> 16) as usize, first & 0xffff);
        let operands = &shader[at + 1..at + words];
        at += words;
        Some((operation, operands))
    })
}

/// The name of a module's only entry point.
fn entry_point(shader: &[u32]) -> String {
    const ENTRY_POINT: u32 = 15;
    let name = instructions(shader).find(|(operation, _)| *operation == ENTRY_POINT);
    let (_, operands) = name.expect("an entry point");
    let bytes: &[u8] = bytemuck::cast_slice(&operands[2..]);
    let end = bytes.iter().position(|byte| *byte == 0).expect("an end");
    String::from_utf8(bytes[..end].to_vec()).expect("UTF-8")
}

/// Whether a module has the pair of words that a bounded loop begins to count at.
fn counts_rounds(shader: &[u32]) -> bool {
    const CONSTANT: u32 = 43;
    const COMPOSITE: u32 = 44;
    let mut largest = BTreeSet::new();
    instructions(shader).any(|(operation, operands)| match (operation, operands) {
        (CONSTANT, [_, name, u32::MAX]) => {
            largest.insert(*name);
            false
        }
        (COMPOSITE, [_, _, first, second]) => largest.contains(first) && largest.contains(second),
        _ => false,
    })
}
