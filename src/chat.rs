//! The front of a conversation: questions in, answers out.

use std::sync::Arc;

use crate::{
    answer::Answer,
    cancel::Cancel,
    conversation::{Conversation, Look},
    drop::Pruning,
    error::{Error, Result},
    generation::GenerationOptions,
    llava::Llava,
    part::Part,
    picture_cache::PictureCache,
    prompt::Role,
};

impl Llava {
    /// Starts a conversation, which keeps the model as long as it lives.
    pub fn chat(&self) -> Chat {
        Chat::new(self.clone())
    }
}

/// A conversation about pictures.
///
/// It may be kept anywhere, and sent to another thread: it shares its model with whoever else has it.
pub struct Chat {
    conversation: Conversation,
    options: GenerationOptions,
    pruning: Option<Pruning>,
    picture_cache: Option<Arc<PictureCache>>,
}

impl Chat {
    fn new(llava: Llava) -> Self {
        let options = GenerationOptions::from_defaults(&llava.defaults);
        Self { conversation: Conversation::new(llava), options, pruning: None, picture_cache: None }
    }

    /// Replaces the rules for generating answers; at first they are the checkpoint's own.
    pub fn options(mut self, options: GenerationOptions) -> Self {
        self.options = options;
        self
    }

    /// Drops vision tokens of the pictures that are shown from now on; at first, none are.
    pub fn pruning(mut self, pruning: Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    /// Drops vision tokens of the pictures that are shown from now on, or none of them any more; those of earlier
    /// pictures stay as they are, unless they were shown under [`Turns::Requery`](crate::drop::Turns) and these rules ask
    /// for it, too.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range; the rules are then as before.
    pub fn set_pruning(&mut self, pruning: Option<Pruning>) -> Result<()> {
        if let Some(pruning) = &pruning {
            self.conversation.llava.check(pruning)?;
        }
        self.pruning = pruning;
        Ok(())
    }

    /// Forgets what was said and shown, instructions included; the rules stay.
    pub fn clear(&mut self) {
        self.conversation.clear();
    }

    /// Takes back the last question with its answer, and all that came with it; `false` if nothing was asked. A picture
    /// that goes with it has what stays computed anew.
    pub fn undo(&mut self) -> bool {
        self.conversation.undo()
    }

    /// Puts instructions in front of the conversation, in place of those there, or takes them away: what was said until
    /// now is computed anew with the next question. A chat template without a place for instructions leaves them out, or
    /// fails that question.
    pub fn instruct(&mut self, text: Option<String>) {
        self.conversation.instruct(text);
    }

    /// Takes up a conversation where it was left: `turns` are taken as asked and answered, and their pictures encoded;
    /// the next question computes the rest.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask). The conversation is then as it was before.
    pub fn resume(&mut self, turns: impl IntoIterator<Item = (Role, Vec<Part>)>) -> Result<()> {
        self.check_pruning()?;
        let Self { conversation, pruning, picture_cache, .. } = self;
        let look = Look { pruning: pruning.as_ref(), cache: picture_cache.as_deref() };
        conversation.attempt(|conversation| {
            turns.into_iter().try_for_each(|turn| {
                if turn.0 == Role::User {
                    conversation.note_question();
                }
                conversation.encode([turn], look).map(drop)
            })
        })
    }

    fn check_pruning(&self) -> Result<(), Error> {
        self.pruning.as_ref().map_or(Ok(()), |pruning| self.conversation.llava.check(pruning))
    }

    /// Has the next question compute everything anew, for tests of what a cache may not change.
    #[doc(hidden)]
    pub fn forget(&mut self) {
        self.conversation.forget();
    }

    /// Has `flag` stop questions and answers: they end with [`Error::Cancelled`] before the next layer of a network on the
    /// CPU, and on an adapter behind what it was given. What was said until then stays in the conversation; a question
    /// that was not answered yet does not.
    pub fn cancel(mut self, flag: Cancel) -> Self {
        self.conversation.cancel = Some(flag);
        self
    }

    /// Takes pictures that were encoded before from `cache`, and leaves others there.
    pub fn picture_cache(mut self, cache: Arc<PictureCache>) -> Self {
        self.picture_cache = Some(cache);
        self
    }

    /// The rules in force, for instance to change one of them.
    pub fn options_mut(&mut self) -> &mut GenerationOptions {
        &mut self.options
    }

    /// Asks, and returns the answer as an iterator that computes a token whenever it is advanced.
    ///
    /// The pictures are encoded and the prompt is run through the decoder before this returns; what an
    /// earlier turn left in the cache is not computed again. Dropping the answer ends it; what was said
    /// until then stays in the conversation.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a rule is out of range, [`Error::Prompt`] if the prompt does not fit the
    /// context, [`Error::Device`] if the device fails, [`Error::Cancelled`] if that was asked for. The conversation is
    /// then as it was before.
    pub fn ask(&mut self, parts: impl IntoIterator<Item = Part>) -> Result<Answer<'_>> {
        self.ask_after([], parts)
    }

    /// As [`ask`](Self::ask), behind turns that were taken elsewhere: instructions ([`Role::System`]), or what was asked
    /// and answered before.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn ask_after(
        &mut self,
        earlier: impl IntoIterator<Item = (Role, Vec<Part>)>,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Answer<'_>> {
        self.options.validate()?;
        self.check_pruning()?;
        let Self { conversation, options, pruning, picture_cache } = self;
        let pruning = pruning.as_ref();
        let question = (Role::User, parts.into_iter().collect());
        let turns = earlier.into_iter().chain([question]);
        let look = Look { pruning, cache: picture_cache.as_deref() };
        let prefilled = conversation.attempt(|conversation| {
            conversation.note_question();
            let encoded = conversation.encode(turns, look)?;
            conversation.prefill(encoded, pruning)
        })?;
        Answer::start(conversation, prefilled, options.clone())
    }

    /// Asks the first question of a new conversation about one picture, seen before.
    ///
    /// What the cache holds of the picture is used again, unless questions decide what it holds.
    #[cfg(feature = "cli")]
    pub(crate) fn ask_afresh(
        &mut self,
        shown: Option<crate::shown::Shown>,
        question: &str,
    ) -> Result<Answer<'_>> {
        use crate::{
            conversation::Encoded,
            prompt::{Turn, TurnPart},
        };

        let Self { conversation, options, pruning, .. } = self;
        conversation.turns.clear();
        conversation.drawn = None;
        if let Some(shown) = shown {
            conversation.pictures = vec![Arc::new(shown)];
            conversation.forget();
        }
        let depth = conversation.llava.model.decoder.depth();
        let has_filters = |pruning: &Pruning| {
            let mut shapes = conversation.pictures.iter().map(|shown| &shown.shape);
            shapes.any(|shape| !pruning.rules().layers(shape, depth).is_empty())
        };
        if pruning.as_ref().is_some_and(has_filters) {
            conversation.forget();
        }
        let parts = vec![TurnPart::Image, TurnPart::Text(question.to_owned())];
        conversation.turns.push(Turn { role: Role::User, parts });
        let prefilled = conversation.prefill(Encoded::default(), pruning.as_ref());
        if prefilled.is_err() {
            conversation.turns.clear();
            conversation.forget();
        }
        Answer::start(conversation, prefilled?, options.clone())
    }
}
