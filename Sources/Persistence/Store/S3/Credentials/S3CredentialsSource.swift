import Foundation
import HTTP

/// Where the credentials for S3 come from.
public enum S3CredentialsSource: Sendable {
    /// The first of these that is set up: environment, web identity, shared file, container service, instance metadata.
    case automatic
    /// These, for ever.
    case fixed(S3Credentials)
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, with temporary ones, `AWS_SESSION_TOKEN`.
    case environment
    /// A profile of a shared credentials file. What is nil is taken from `AWS_SHARED_CREDENTIALS_FILE` and `AWS_PROFILE`,
    /// else `~/.aws/credentials` and "default".
    case sharedFile(path: String?, profile: String?)
    /// A directory with a file for each of the variables named above, as a Kubernetes Secret is mounted.
    case directory(String)
    /// A token that the platform mounts (`AWS_WEB_IDENTITY_TOKEN_FILE`), exchanged for the role `AWS_ROLE_ARN`.
    case webIdentity
    /// The service that `AWS_CONTAINER_CREDENTIALS_FULL_URI` or `_RELATIVE_URI` names.
    case container
    /// The instance metadata service, version 2.
    case instanceMetadata
}

extension S3CredentialsSource {
    /// - Parameter environment: the process's own, but in tests.
    func provider(
        http: HTTPClient, region: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> any CredentialsProvider {
        switch self {
        case .automatic:
            CredentialsChain([
                EnvironmentCredentials(environment: environment),
                WebIdentityCredentials(http: http, region: region, environment: environment),
                SharedFileCredentials(path: nil, profile: nil, environment: environment),
                ContainerCredentials(http: http, environment: environment),
                InstanceMetadataCredentials(http: http, environment: environment),
            ])
        case .fixed(let credentials): FixedCredentials(credentials: credentials)
        case .environment: EnvironmentCredentials(environment: environment)
        case .sharedFile(let path, let profile):
            SharedFileCredentials(path: path, profile: profile, environment: environment)
        case .directory(let path): MountedCredentials(directory: path)
        case .webIdentity: WebIdentityCredentials(http: http, region: region, environment: environment)
        case .container: ContainerCredentials(http: http, environment: environment)
        case .instanceMetadata: InstanceMetadataCredentials(http: http, environment: environment)
        }
    }
}
