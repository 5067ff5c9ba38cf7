import Errors
import Foundation
import HTTP

extension S3Store {
    func writeInParts(_ key: ObjectKey, _ bytes: [UInt8]) async throws -> ETag {
        throw PerSSDError(.unsupported, "later")
    }
}
