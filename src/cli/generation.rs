//! Arguments about how answers are generated.

use clap::Args;

use crate::GenerationOptions;

/// Rules for answers; what is not given is as the model has it.
#[derive(Debug, Args)]
pub struct GenerationArguments {
    /// The most tokens the answer may have [default: the model's own, else 512]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_new_tokens: Option<usize>,

    /// 0 always takes the likeliest token; higher values take more chances [default: the model's own]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Choose among the K likeliest tokens (with a temperature above 0)
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,

    /// Choose among the likeliest tokens that together have probability P, at least one (with a temperature above 0)
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Above 1 makes tokens that were already used less likely
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,

    /// Seed for temperatures above 0 and for --policy random
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(super) seed: u64,

    /// End the answer where this text would appear; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl GenerationArguments {
    /// Changes the model's own rules to what the arguments say.
    pub fn adjust(&self, options: &mut GenerationOptions) {
        let set = |target: &mut f32, value: Option<f32>| *target = value.unwrap_or(*target);
        set(&mut options.sampling.temperature, self.temperature);
        set(&mut options.sampling.repetition_penalty, self.repetition_penalty);
        options.sampling.top_k = self.top_k.or(options.sampling.top_k);
        options.sampling.top_p = self.top_p.or(options.sampling.top_p);
        options.sampling.seed = self.seed;
        options.max_new_tokens = self.max_new_tokens.unwrap_or(options.max_new_tokens);
        options.stop.clone_from(&self.stop);
    }
}
