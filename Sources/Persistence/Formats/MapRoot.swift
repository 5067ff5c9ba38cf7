public struct MapRoot: Sendable, Codable, Equatable {}
