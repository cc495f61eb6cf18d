//! The `mustdrop` program; everything is in [`mustdrop::cli`].

fn main() -> std::process::ExitCode {
    mustdrop::cli::main()
}
