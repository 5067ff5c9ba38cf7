extension Catalog {
    /// The clusters of which a node has ever registered, in the order of their names.
    public func clusters() async throws -> [String] { try await folders(in: CatalogKey.nodes) }

    /// The ids of all volumes, and of those that have been deleted: what is said of each is not looked at, so that one
    /// that is damaged is no hindrance.
    public func volumeIDs() async throws -> [VolumeID] {
        try await folders(in: CatalogKey.volumes).compactMap { VolumeID($0) }
    }

    private func folders(in folder: String) async throws -> [String] {
        let pageSize = 1000
        var found: [String] = []
        while true {
            let page = try await store.listFolders(in: folder, after: found.last, limit: pageSize)
            found += page
            if page.count < pageSize { return found }
        }
    }
}
