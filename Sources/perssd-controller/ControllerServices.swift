import CSIController
import Errors
import Processes
import RPC

/// The services of the controller's process.
func controllerMethods(_ process: ServiceProcess) throws -> [RPCMethod] {
    throw PerSSDError(.unsupported, "the controller plugin is not part of this build")
}
