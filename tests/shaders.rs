//! Every shader on disk is in the kernel table, valid, and bound as its host side binds it.

use std::{collections::BTreeSet, fs, path::Path};

use crate::common::repository;
use mustdrop::{
    kernel::{self, KERNELS, Kernel},
    oracle,
};
use naga::{
    AddressSpace, Module, StorageAccess, TypeInner,
    valid::{Capabilities, ValidationFlags, Validator},
};

/// Every shader as its file has it, and every variant that is run.
fn parsed() -> impl Iterator<Item = (&'static str, [u32; 3], Module)> {
    KERNELS.iter().copied().chain(kernel::variants()).map(|kernel| {
        let text = kernel.text();
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(&text, kernel.name)));
        (kernel.name, kernel.workgroup, module)
    })
}

#[test]
fn the_kernel_table_holds_exactly_the_shaders_on_disk() {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                if entry.file_name() != Some("common".as_ref()) {
                    walk(&entry, found);
                }
            } else {
                found.insert(entry.file_stem().expect("a name").to_string_lossy().into_owned());
            }
        }
    }
    let mut on_disk = BTreeSet::new();
    walk(&repository("shaders"), &mut on_disk);
    let in_table: BTreeSet<_> = KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect();
    assert_eq!(on_disk, in_table);
    assert_eq!(in_table.len(), KERNELS.len(), "names are unique");
}

#[test]
fn every_variant_is_another_text() {
    let texts: BTreeSet<_> = kernel::variants().iter().map(Kernel::text).collect();
    assert_eq!(texts.len(), kernel::variants().len(), "a constant that no file declares changes nothing");
}

#[test]
fn shaders_are_valid_and_declare_the_workgroup_the_host_uses() {
    for (name, workgroup, module) in parsed() {
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
        validator.validate(&module).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let [entry] = module.entry_points.as_slice() else { panic!("{name}: expected one entry point") };
        assert_eq!(entry.name, name, "the entry point bears the file's name");
        assert_eq!(entry.workgroup_size, workgroup, "{name}");
    }
}

#[test]
fn bindings_count_up_are_used_and_end_in_the_uniform() {
    for (name, _, module) in parsed() {
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
        let info = validator.validate(&module).expect("valid, as tested above");
        let usage = info.get_entry_point(0);
        let mut bound: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(handle, variable)| variable.binding.map(|at| (at, handle, variable.space)))
            .collect();
        bound.sort_by_key(|(at, ..)| (at.group, at.binding));
        let last = bound.len() - 1;
        for (index, (at, handle, space)) in bound.into_iter().enumerate() {
            assert_eq!((at.group, at.binding), (0, index as u32), "{name}: bindings have no gaps");
            assert!(!usage[handle].is_empty(), "{name}: binding {index} is never used");
            // A read-only binding next to a writable one of the same buffer would kill the device.
            let writable = AddressSpace::Storage { access: StorageAccess::LOAD | StorageAccess::STORE };
            let expected = if index == last { AddressSpace::Uniform } else { writable };
            assert_eq!(space, expected, "{name}: binding {index}");
        }
    }
}

#[test]
fn parameters_are_laid_out_as_the_host_struct() {
    for (name, _, module) in parsed() {
        let expected = oracle::parameter_layout(name).unwrap_or_else(|| panic!("{name}: no oracle"));
        let params = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params"));
        let Some((_, naga::Type { inner: TypeInner::Struct { members, span }, .. })) = params else {
            panic!("{name}: no struct Params")
        };
        let found: Vec<_> =
            members.iter().map(|m| (m.name.clone().expect("a name"), m.offset as usize)).collect();
        let fields: Vec<_> = expected.fields.iter().map(|(n, o)| ((*n).to_owned(), *o)).collect();
        assert_eq!(found, fields, "{name}: fields and offsets");
        assert_eq!(*span as usize, expected.size, "{name}: size");
    }
}
