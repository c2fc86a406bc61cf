//! How a store is changed: read, decide, and write if what was read is so still.

use redis::Value;
use tokenkeep_core::{Operation, StoreError, StoreErrorKind, TokenId, next_id};

use crate::{
    batch::Batch,
    error::{Fault, unavailable, unexpected, unknown},
    link::{Limit, Link},
    rows::{Seen, list, text},
    script::{Call, LOOK},
};

/// What looks at more than this may take long.
const MANY: usize = 100;

/// What is read: names of the index, and ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) names: Vec<String>,
    pub(crate) ids: Vec<TokenId>,
}

/// What is to be done about what was read.
pub(crate) enum Decision<A> {
    /// Nothing; this is the answer.
    Answer(A),
    /// This is to be written, and then the answer.
    Write(Batch, A),
}

/// What became of a write that was answered.
enum Written {
    Done(Option<TokenId>),
    /// What it was decided on is not so any more.
    Changed,
}

impl Look {
    pub(crate) fn at(id: &TokenId) -> Self {
        Self { names: Vec::new(), ids: vec![id.clone()] }
    }

    fn call(&self) -> Call {
        let mut arguments = vec![self.names.len().to_string()];
        arguments.extend(self.names.iter().cloned());
        arguments.extend(self.ids.iter().map(ToString::to_string));
        Call::new(&LOOK, arguments)
    }
}

impl Link {
    /// Reads what `look` names, in one moment and one round trip.
    pub(crate) async fn look(&self, look: &Look, limit: &mut Limit) -> Result<Seen, StoreError> {
        Seen::parse(self.read(&look.call(), limit).await?)
    }

    /// Reads what `look` names, and writes what `decide` makes of it, if that is so still; begins
    /// again if it is not. The id is the one that was given to a new token.
    ///
    /// If a write gets no answer, what is stored tells whether it was made: what it wrote, or that
    /// what it would have replaced is there still. Where neither is so, the outcome is unknown.
    pub(crate) async fn change<A>(
        &self,
        operation: Operation,
        look: &Look,
        decide: impl Fn(&Seen) -> Result<Decision<A>, StoreError> + Sync,
    ) -> Result<(A, Option<TokenId>), StoreError>
    where
        A: Send,
    {
        let many = look.names.len() + look.ids.len() > MANY;
        let mut limit = if many { self.limit().patient() } else { self.limit() };
        let mut lost = Vec::new();
        let changed = self.change_by(&mut limit, look, decide, &mut lost).await;
        changed.map_err(|error| {
            let error = error.during(operation);
            if lost.is_empty() { error } else { unknown(error) }
        })
    }

    /// `lost` are writes that got no answer, and what the answer would have been.
    async fn change_by<A: Send>(
        &self,
        limit: &mut Limit,
        look: &Look,
        decide: impl Fn(&Seen) -> Result<Decision<A>, StoreError> + Sync,
        lost: &mut Vec<(Batch, A)>,
    ) -> Result<(A, Option<TokenId>), StoreError> {
        loop {
            let seen = self.look(look, limit).await?;
            let found = lost.iter().position(|(batch, _)| seen.written_with(batch.mark).is_some());
            if let Some(at) = found {
                let (batch, answer) = lost.swap_remove(at);
                return Ok((answer, seen.written_with(batch.mark).map(|row| row.id.clone())));
            }
            if !lost.iter().all(|(batch, _)| batch.can_be_repeated(&seen)) {
                return Err(undecided());
            }
            let (batch, answer) = match decide(&seen)? {
                Decision::Write(batch, answer) => (batch, answer),
                Decision::Answer(answer) if lost.is_empty() => return Ok((answer, None)),
                Decision::Answer(_) => return Err(undecided()),
            };
            match self.commit(&batch, limit).await {
                Ok(Written::Done(id)) => return Ok((answer, id)),
                Ok(Written::Changed) => limit.pause(changed_by_others()).await?,
                Err(fault) if fault.lost => {
                    lost.push((batch, answer));
                    limit.pause(fault).await?;
                }
                Err(fault) => limit.pause(fault).await?,
            }
        }
    }

    async fn commit(&self, batch: &Batch, limit: &Limit) -> Result<Written, Fault> {
        let answer = self.write(&batch.call(self.config.lifetime), limit).await?;
        written(answer).map_err(|error| Fault::final_(unknown(error)))?
    }
}

/// The outer error: the script says something strange.
fn written(answer: Value) -> Result<Result<Written, Fault>, StoreError> {
    let mut words = list(answer)?.into_iter().map(text);
    let word = words.next().transpose()?;
    Ok(match word.as_deref() {
        Some("done") => {
            let id = words.next().transpose()?.filter(|id| !id.is_empty());
            Ok(Written::Done(id.map(TokenId::new).transpose().map_err(StoreError::from)?))
        }
        Some("changed") => Ok(Written::Changed),
        Some("full") => match next_id(u64::MAX) {
            Err(full) => Err(Fault::final_(full)),
            Ok(_) => return Err(unexpected()),
        },
        _ => return Err(unexpected()),
    })
}

fn undecided() -> StoreError {
    unavailable("the connection broke before the answer came, and what is stored does not tell")
        .with_hint("read before you write again")
}

fn changed_by_others() -> Fault {
    let error = StoreError::new(StoreErrorKind::Busy, "others write the same again and again");
    Fault { remedy: crate::error::Remedy::Wait, ..Fault::final_(error.with_hint("try again")) }
}
