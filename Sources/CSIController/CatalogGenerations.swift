import Errors
import Persistence

/// The generations that the catalog's snapshots pin.
struct CatalogGenerations: GenerationSource {
    let catalog: Catalog

    func generation(ofSnapshot id: String) async throws -> SnapshotGeneration? {
        guard let id = SnapshotID(id) else { return nil }
        let record: SnapshotRecord
        do {
            record = try await catalog.snapshot(id)
        } catch let error as PerSSDError where error.code == .notFound {
            return nil
        }
        guard record.isReady else {
            throw PerSSDError(
                .failedPrecondition, "snapshot \(id) is not ready to use", remedy: "try again when it is")
        }
        guard let pinned = record.generation else {
            let geometry = try MapGeometry(blockSize: .standard, capacityBytes: record.capacityBytes)
            return SnapshotGeneration(
                volume: record.volume, incarnation: record.incarnation, number: 0,
                map: StoredMap(root: .zeros(geometry), store: catalog.store, lineage: record.lineage))
        }
        let generation = try await catalog.generation(pinned)
        return SnapshotGeneration(
            volume: record.volume, incarnation: record.incarnation, number: generation.number,
            map: StoredMap(root: generation.map, store: catalog.store, lineage: generation.lineage))
    }
}
