import HTTP
import Testing

@Suite struct HTTPHeadersTests {
    @Test func namesAreComparedWithoutRegardToCase() {
        var headers: HTTPHeaders = ["ETag": "1", "x-other": "2"]
        #expect(headers["etag"] == "1")
        headers["ETAG"] = "3"
        #expect(headers["ETag"] == "3")
        #expect(headers.fields.count == 2)
        headers["Etag"] = nil
        #expect(headers["ETag"] == nil)
    }

    /// A mark that differs from a letter in the same bit as a capital from a small letter does is another name.
    @Test func onlyLettersFold() {
        let headers: HTTPHeaders = ["x^y": "1"]
        #expect(headers["x~y"] == nil)
    }
}
