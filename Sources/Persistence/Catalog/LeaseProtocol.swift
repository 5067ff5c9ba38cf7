import Errors
import Foundation

/// The steps of a lease's life. A step that has been done already changes nothing, so that retries are harmless.
extension Head {
    /// The controller gives the volume to a node.
    ///
    /// - Throws: `failedPrecondition` while another node holds it; `alreadyExists` where the same node holds it in
    ///   another way; `notFound` where the volume is deleted.
    public func granting(
        to node: NodeReference, as publication: Lease.Publication, now: Date
    ) throws -> Head {
        try refuseIfDeleted()
        var head = self
        guard let lease else {
            head.epoch += 1
            head.lease = Lease(holder: node, state: .granted, since: now, publication: publication)
            return head
        }
        guard lease.holder == node else { throw heldByAnother(lease) }
        if let held = lease.publication, held != publication {
            throw PerSSDError(
                .alreadyExists,
                "volume \(volume) is published on node \(node) already as \(held)",
                remedy: "unpublish it there first")
        }
        head.lease?.publication = publication
        // The pod came back before the detach went through.
        head.lease?.detachRequestedAt = nil
        head.lease?.signOfLife = nil
        return head
    }

    /// The node says that it may write from now on, and takes the lease itself where nobody holds it.
    ///
    /// - Parameter expectedEpoch: what the controller granted, where the node was told.
    /// - Throws: `failedPrecondition` where another node holds the lease, or it was granted anew since.
    public func opening(by node: NodeReference, expectedEpoch: UInt64?, now: Date) throws -> Head {
        try refuseIfDeleted()
        var head = self
        guard let lease else {
            if let expectedEpoch { throw takenBack(from: node, expectedEpoch) }
            head.epoch += 1
            head.lease = Lease(holder: node, state: .open, since: now)
            return head
        }
        guard lease.holder == node else { throw heldByAnother(lease) }
        if let expectedEpoch, expectedEpoch != epoch {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(volume) was granted to node \(node) at epoch \(epoch), and this publish still names epoch "
                    + "\(expectedEpoch)",
                remedy: "attach the volume to this node again")
        }
        // Held back, and detached since: whoever names an epoch is a pod that came before that.
        if lease.isHeldBack, lease.publication == nil, let expectedEpoch { throw takenBack(from: node, expectedEpoch) }
        head.lease?.heldBackUntil = nil
        guard lease.state != .open else { return head }
        head.lease?.state = .open
        head.lease?.since = now
        return head
    }

    /// The node says that no pod has the volume there any more, and that it keeps back what it has not committed, for a pod that
    /// may come next. It stays open: what a loss of the node costs is the same as before.
    ///
    /// Nothing changes where nobody could end that before its time, as no controller attaches the volume, or where somebody waits
    /// for it already: then the node has to commit at once.
    /// - Parameter until: by the node's clock.
    /// - Throws: `failedPrecondition` where the node does not hold the lease at `epoch`.
    public func holdingBack(by node: NodeReference, epoch: UInt64, until: Date) throws -> Head {
        try requireWriter(node, epoch)
        guard let lease, lease.state == .open, lease.publication != nil, lease.detachRequestedAt == nil else {
            return self
        }
        var head = self
        head.lease?.heldBackUntil = until
        return head
    }

    /// The controller takes a volume that is held back from its node, which keeps the lease all the same until it has committed,
    /// and then gives it back by itself. So a pod that comes to the node meanwhile finds the volume as it is.
    public func withdrawing(from node: NodeReference?) -> Head {
        guard let lease, node == nil || lease.holder == node, lease.isHeldBack else { return self }
        var head = self
        head.lease?.publication = nil
        return head
    }

    /// A node's work becomes the newest generation.
    ///
    /// - Parameter closing: nothing is published on the node any more, so with this all is committed.
    /// - Throws: `failedPrecondition` where the node does not hold the lease at `epoch`: its work is a branch then;
    ///   `conflict` where the generation does not follow the newest one.
    public func committing(
        _ generation: GenerationReference, by node: NodeReference, epoch: UInt64, closing: Bool, now: Date
    ) throws -> Head {
        try requireWriter(node, epoch)
        guard newest != generation else { return closing ? try self.closing(by: node, epoch: epoch, now: now) : self }
        guard generation.number == (newest?.number ?? 0) + 1, generation.volume == volume,
            generation.incarnation == incarnation
        else {
            throw PerSSDError(
                .conflict, "\(generation) cannot follow \(newest.map(\.description) ?? "an empty volume")")
        }
        var head = self
        head.newest = generation
        return closing ? try head.closing(by: node, epoch: epoch, now: now) : head
    }

    /// The node has nothing uncommitted and nothing published. A lease that it took itself goes back at once, because
    /// no controller will ask for it.
    public func closing(by node: NodeReference, epoch: UInt64, now: Date) throws -> Head {
        try requireWriter(node, epoch)
        var head = self
        guard let lease, lease.state != .closed else { return self }
        if lease.publication == nil {
            head.lease = nil
        } else {
            head.lease?.state = .closed
            head.lease?.since = now
            // What was waited for has come; should it be opened again, the next wait starts anew.
            head.lease?.detachRequestedAt = nil
            head.lease?.signOfLife = nil
            head.lease?.heldBackUntil = nil
        }
        return head
    }

    /// The controller takes the volume back from a node; nil for whichever holds it.
    ///
    /// - Throws: `aborted` while the node may have uncommitted writes.
    public func releasing(from node: NodeReference?) throws -> Head {
        guard let lease, node == nil || lease.holder == node else { return self }
        guard lease.state != .open else {
            throw PerSSDError(
                .aborted,
                "node \(lease.holder) has not committed all it wrote to volume \(volume) since \(newestText)",
                remedy: "wait until it has staged out")
        }
        var head = self
        head.lease = nil
        return head
    }

    /// The controller wants the volume back as soon as the work is committed; from this moment on a detach waits.
    ///
    /// - Parameter holderSeenAt: what the holder's record says of when it was written; nil where there is none. Asked
    ///   again with another one, this notes that the holder lives.
    public func requestingDetach(from node: NodeReference?, holderSeenAt: Date?, now: Date) -> Head {
        guard let lease, node == nil || lease.holder == node, lease.state == .open else { return self }
        var head = self
        if lease.detachRequestedAt == nil { head.lease?.detachRequestedAt = now }
        if let holderSeenAt, lease.signOfLife?.seenAt != holderSeenAt {
            head.lease?.signOfLife = Lease.SignOfLife(seenAt: holderSeenAt, notedAt: now)
        }
        return head
    }

    /// Takes the lease away whatever its holder may have written. What it wrote since the newest generation can no
    /// longer be committed; should it come back, its work becomes a branch.
    public func revoking(now: Date) -> Head {
        guard let lease else { return self }
        var head = self
        head.lease = nil
        head.epoch += 1
        if lease.state == .open {
            head.loss = Loss(
                node: lease.holder, epoch: epoch, newestGeneration: newest?.number ?? 0, openSince: lease.since,
                revokedAt: now)
        }
        return head
    }

    /// The volume is deleted; its records can go. What a node keeps back of a volume that is published nowhere goes with it: nobody
    /// is to have it any more.
    ///
    /// - Throws: `failedPrecondition` while a node holds it otherwise.
    public func deleting(now: Date) throws -> Head {
        guard deletedAt == nil else { return self }
        if let lease, !lease.isHeldBack || lease.publication != nil {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(volume) is in use: node \(lease.holder) holds it (\(lease.state.rawValue))",
                remedy: "unpublish it first")
        }
        var head = self
        head.lease = nil
        head.deletedAt = now
        return head
    }

    private func requireWriter(_ node: NodeReference, _ epoch: UInt64) throws {
        try refuseIfDeleted()
        guard let lease, lease.holder == node, self.epoch == epoch else {
            let holder = lease.map { "node \($0.holder) holds it" } ?? "nobody holds it"
            throw PerSSDError(
                .failedPrecondition,
                "node \(node) lost the lease of volume \(volume) that it had at epoch \(epoch): now \(holder) at epoch "
                    + "\(self.epoch)",
                remedy: "what this node wrote since is kept on it as a branch")
        }
    }

    private func refuseIfDeleted() throws {
        guard deletedAt != nil else { return }
        throw PerSSDError(.notFound, "volume \(volume) has been deleted")
    }

    private func takenBack(from node: NodeReference, _ epoch: UInt64) -> PerSSDError {
        PerSSDError(
            .failedPrecondition,
            "the lease of volume \(volume) that was granted to node \(node) at epoch \(epoch) has been taken back",
            remedy: "attach the volume to this node again")
    }

    private func heldByAnother(_ lease: Lease) -> PerSSDError {
        PerSSDError(
            .failedPrecondition,
            "volume \(volume) is held by node \(lease.holder) (\(lease.state.rawValue) since "
                + "\(lease.since.formatted(.iso8601)))",
            remedy: "it can be published elsewhere once that node has unpublished it")
    }

    private var newestText: String { newest.map(\.description) ?? "it was created" }
}
