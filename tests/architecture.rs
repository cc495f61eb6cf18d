//! The house: which room may look into which, and what the page about it names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

use crate::common::repository;

/// The first names behind `crate::` in a file, tests left out.
#[derive(Default)]
struct Imports(BTreeSet<String>);

impl Visit<'_> for Imports {
    fn visit_item_use(&mut self, item: &ItemUse) {
        if let UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            self.take(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let mut names = path.segments.iter().map(|segment| segment.ident.to_string());
        if names.next().as_deref() == Some("crate") {
            self.0.extend(names.next());
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }
}

impl Imports {
    fn take(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => drop(self.0.insert(path.ident.to_string())),
            UseTree::Name(name) => drop(self.0.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.0.insert(rename.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.take(tree)),
            UseTree::Glob(_) => {}
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
}

fn parse(path: &Path) -> File {
    let text = fs::read_to_string(path).expect("a readable file");
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => rust_files(&entry, found),
            false if entry.extension() == Some("rs".as_ref()) => found.push(entry),
            false => {}
        }
    }
}

/// Which modules of the crate each of them imports from, by way of what the crate's root exports too.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = repository("src");
    let mut rooms = BTreeMap::<String, BTreeSet<String>>::new();
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    for file in files {
        let room = file.strip_prefix(&src).expect("below src").iter().next().expect("a name");
        let room = room.to_string_lossy().trim_end_matches(".rs").to_owned();
        if room != "lib" && room != "main" {
            let mut found = Imports::default();
            found.visit_file(&parse(&file));
            rooms.entry(room).or_default().append(&mut found.0);
        }
    }
    let mut exports = BTreeMap::new();
    for item in parse(&src.join("lib.rs")).items {
        if let syn::Item::Use(item) = item
            && let UseTree::Path(path) = &item.tree
        {
            let mut names = Imports::default();
            names.take(&path.tree);
            exports.extend(names.0.into_iter().map(|name| (name, path.ident.to_string())));
        }
    }
    let names: BTreeSet<String> = rooms.keys().cloned().collect();
    for (room, found) in &mut rooms {
        let resolved = found.iter().map(|name| exports.get(name).unwrap_or(name).clone());
        *found = resolved.filter(|name| name != room && names.contains(name)).collect();
    }
    rooms
}

#[test]
fn imports_run_one_way() {
    let mut rooms = imports();
    assert!(rooms.len() > 20 && rooms["chat"].contains("answer"), "the imports were found: {rooms:?}");
    // Rooms that import from none of those left are taken away, until none can be.
    loop {
        let left: BTreeSet<String> = rooms.keys().cloned().collect();
        rooms.retain(|_, imports| imports.iter().any(|import| left.contains(import)));
        if rooms.len() == left.len() {
            break;
        }
    }
    assert!(rooms.is_empty(), "each of these imports from another of them: {rooms:?}");
}

#[test]
fn the_steps_of_a_conversation_stand_on_each_other() {
    let rooms = imports();
    for (step, below) in
        [("llava", "model"), ("conversation", "llava"), ("answer", "conversation"), ("chat", "answer")]
    {
        assert!(rooms[step].contains(below), "{step} stands on {below}");
    }
    assert!(
        !rooms["oracle"].iter().any(|room| room != "error"),
        "oracles need nothing: {:?}",
        rooms["oracle"]
    );
}

#[test]
fn every_file_of_tests_is_run() {
    let main = fs::read_to_string(repository("tests/main.rs")).expect("the tests' program");
    for entry in fs::read_dir(repository("tests")).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(module) = name.strip_suffix(".rs").filter(|name| !["main", "device_loss"].contains(name))
        else {
            continue;
        };
        assert!(main.contains(&format!("mod {module};")), "tests/main.rs does not name {name}");
    }
}

#[test]
fn the_page_about_the_house_names_files_that_are_there() {
    let page = fs::read_to_string(repository("docs/architecture.md")).expect("the page");
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && !name.contains('<')).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(repository(name).exists(), "docs/architecture.md names {name}");
    }
    for entry in fs::read_dir(repository("src")).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(page.contains(&format!("src/{name}")), "docs/architecture.md does not name src/{name}");
    }
}
