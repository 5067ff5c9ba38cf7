import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct FileErrorTests {
    /// Those that no test can bring about on this machine as well: a failing disk, a full quota, a host that is gone.
    @Test(arguments: [
        (ENOSPC, PerSSDError.Code.resourceExhausted, "free space"), (EDQUOT, .resourceExhausted, "quota"),
        (EROFS, .failedPrecondition, "read-write"), (EACCES, .permissionDenied, "user \(geteuid())"),
        (EIO, .unavailable, "cannot write"), (ESTALE, .unavailable, "cannot write"),
        (ENOLCK, .failedPrecondition, "flock"),
        (EXDEV, .failedPrecondition, "one file system"), (EBADF, .internal, "cannot write"),
    ])
    func errorNumbersSayWhatHappenedAndWhatToDo(_ number: Int32, _ code: PerSSDError.Code, _ words: String) {
        let error = fileError(number, "cannot write /shared/a")
        #expect(error.code == code)
        #expect(error.description.contains("/shared/a: ") && error.description.contains(words), "\(error)")
    }
}
